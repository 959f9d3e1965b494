#!/usr/bin/env bash
# One process of openssl for each device: the best that its command line does.
# usage: CA=folder openssl-req.sh COUNT PROCESSES
set -euo pipefail
here=$(dirname "$(realpath "$0")")
count=$1 processes=$2

line() {
    local number id
    for number in $(seq "$1" "$processes" "$count"); do
        id=device-$number
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$id.key.pem" \
            -subj "/CN=$id" -config "$here/leaf.cnf" -extensions leaf -CA "$CA/cert.pem" \
            -CAkey "$CA/key.pem" -days 30 -sha256 -out "$id.cert.pem" 2> /dev/null
        cat "$id.cert.pem" "$CA/chain.pem" > "$id.chain.pem"
    done
}

for first in $(seq "$processes"); do
    line "$first" &
done
wait
