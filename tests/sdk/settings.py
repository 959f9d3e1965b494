"""What every scenario is told, by environment, and how it says what it saw.

Run a scenario against an emulator whose hub is named after the machine, since the device SDK has
the ports 8883 (MQTT) and 443 (WebSocket) built in and takes no others:

    dps-pki emulator --listen localhost:443 --hub localhost
"""

import json
import os
from pathlib import Path

ID_SCOPE = os.environ["DPS_ID_SCOPE"]
REGISTRATION_ID = os.environ["DPS_REGISTRATION_ID"]
HOST = os.environ.get("DPS_HOST", "localhost")


def trust_anchor():
    """The emulator's CA certificate, as PEM."""
    return Path(os.environ["DPS_CA_FILE"]).read_text()


def is_websocket():
    """Whether to speak MQTT over WebSocket."""
    return os.environ.get("DPS_TRANSPORT") == "websocket"


def saw(**facts):
    """One line of JSON for whoever runs the scenario."""
    print(json.dumps(facts), flush=True)
