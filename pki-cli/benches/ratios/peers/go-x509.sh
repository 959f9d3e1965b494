#!/usr/bin/env bash
# Builds go-x509.go beside the authority, once, and runs it.
# usage: CA=folder go-x509.sh COUNT GOROUTINES
set -euo pipefail
here=$(dirname "$(realpath "$0")")
program=$CA/go-x509
[ -x "$program" ] || GO111MODULE=off GOCACHE=$CA/go-cache go build -o "$program" "$here/go-x509.go"
exec "$program" "$@"
