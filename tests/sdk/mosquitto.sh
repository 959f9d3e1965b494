#!/bin/sh
# A device without an SDK: it registers with curl and sends with mosquitto, by certificate. (Not all
# with mosquitto: its clients cannot subscribe and publish on one connection.)
# The same environment as settings.py has; DPS_ENDPOINT is where HTTPS is, DPS_PORT the MQTT port.
set -eu

endpoint=${DPS_ENDPOINT:-https://localhost}
id=$DPS_REGISTRATION_ID
registration="$endpoint/$DPS_ID_SCOPE/registrations/$id"
version='api-version=2021-06-01'

device() {
    curl --silent --show-error --cacert "$DPS_CA_FILE" --cert "$DPS_CERTIFICATE" --key "$DPS_KEY" "$@"
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

mosquitto_pub -h "${DPS_HOST:-localhost}" -p "${DPS_PORT:-8883}" -V 311 \
    --cafile "$DPS_CA_FILE" --cert "$DPS_CERTIFICATE" --key "$DPS_KEY" \
    -i "$name" -u "$hub/$name/?api-version=2021-04-12" \
    -q 1 -t "devices/$name/messages/events/" -m '{"temperature": 21.5}'
