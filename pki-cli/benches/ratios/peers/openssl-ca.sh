#!/usr/bin/env bash
# A key, a CSR, `openssl ca` and the chain for each device, one after the other: what tutorials do.
# usage: CA=folder openssl-ca.sh COUNT
set -euo pipefail
here=$(dirname "$(realpath "$0")")
mkdir issued
: > index.txt
openssl rand -hex 16 > serial
cat "$here/leaf.cnf" - > ca.cnf <<END
[ca]
default_ca = line
[line]
new_certs_dir = issued
database = index.txt
serial = serial
private_key = $CA/key.pem
certificate = $CA/cert.pem
default_md = sha256
policy = names
[names]
commonName = supplied
END
for number in $(seq "$1"); do
    id=device-$number
    openssl ecparam -name prime256v1 -genkey -noout -out "$id.key.pem"
    openssl req -config ca.cnf -key "$id.key.pem" -subj "/CN=$id" -new -sha256 -out "$id.csr.pem"
    openssl ca -batch -config ca.cnf -extensions leaf -days 30 -notext -in "$id.csr.pem" \
        -out "$id.cert.pem" 2> /dev/null
    cat "$id.cert.pem" "$CA/chain.pem" > "$id.chain.pem"
done
