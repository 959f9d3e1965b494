"""Where the emulator is, as `dps-pki emulator --print-env` says it, and how a scenario says what it saw.

The device SDK has the ports 8883 (MQTT) and 443 (WebSocket) built in, and the hub is reached by its
name, so the emulator runs as:

    dps-pki emulator --listen localhost:443 --hub localhost --print-env
"""

import json
import os
from pathlib import Path

HOST = os.environ["PROVISIONING_HOST"]
ID_SCOPE = os.environ["PROVISIONING_IDSCOPE"]
SERVICE = os.environ["PROVISIONING_CONNECTION_STRING"]
HUB = os.environ["IOTHUB_CONNECTION_STRING"]
ARM = os.environ["DPS_EMULATOR_ARM_ENDPOINT"]
SUBSCRIPTION = os.environ["AZURE_SUBSCRIPTION_ID"]
# What the operations of ARM take first.
INSTANCE = {
    "resource_group_name": os.environ["AZURE_RESOURCE_GROUP"],
    "provisioning_service_name": os.environ["DPS_EMULATOR_NAME"],
}


def device_options(transport):
    """How a device client trusts the emulator and which way it goes: `mqtt` or `websocket`."""
    trust_anchor = Path(os.environ["SSL_CERT_FILE"]).read_text()
    return {"server_verification_cert": trust_anchor, "websockets": transport == "websocket"}


def saw(**facts):
    """One line of JSON for whoever runs the scenario."""
    print(json.dumps(facts), flush=True)
