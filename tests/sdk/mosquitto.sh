#!/bin/sh
# A device without an SDK: it registers with curl and sends with mosquitto, by certificate. (Not all
# with mosquitto: its clients cannot subscribe and publish on one connection.)
# Arguments: its registration ID, its full chain, its key. What else it needs comes from
# `dps-pki emulator --print-env`.
set -eu

id=$1 chain=$2 key=$3
registration="https://$PROVISIONING_HOST/$PROVISIONING_IDSCOPE/registrations/$id"
version='api-version=2021-06-01'

device() {
    curl --silent --show-error --cacert "$SSL_CERT_FILE" --cert "$chain" --key "$key" "$@"
}

# The string that a JSON member holds.
member() {
    sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"
}

operation=$(device --request PUT "$registration/register?$version" --data '{}' | member operationId)
for _ in 1 2 3 4 5; do
    answer=$(device "$registration/operations/$operation?$version")
    case $answer in *'"status":"assigning"'*) sleep 1 ;; *) break ;; esac
done
printf '%s\n' "$answer"
hub=$(printf '%s' "$answer" | member assignedHub)
name=$(printf '%s' "$answer" | member deviceId)
server=${DPS_EMULATOR_MQTT#mqtts://}

mosquitto_pub -h "${server%:*}" -p "${server##*:}" -V 311 \
    --cafile "$SSL_CERT_FILE" --cert "$chain" --key "$key" \
    -i "$name" -u "$hub/$name/?api-version=2021-04-12" \
    -q 1 -t "devices/$name/messages/events/" -m '{"temperature": 21.5}'
