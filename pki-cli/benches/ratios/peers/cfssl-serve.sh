#!/usr/bin/env bash
# A cfssl server, and as many clients as there are processes, each with a connection of its own.
# usage: CA=folder cfssl-serve.sh COUNT PROCESSES
set -euo pipefail
here=$(dirname "$(realpath "$0")")
# Older releases read keys in SEC1 form only.
openssl ec -in "$CA/key.pem" -out sec1.pem 2> /dev/null
cat > cfssl.json <<END
{"signing": {"default": {"expiry": "720h", "usages": ["digital signature", "client auth"]}}}
END
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cfssl serve -loglevel=4 -address 127.0.0.1 -port "$port" -ca "$CA/cert.pem" -ca-key sec1.pem \
    -config cfssl.json > server.log 2>&1 &
trap 'kill $!' EXIT
python3 "$here/cfssl_client.py" "$port" "$@"
