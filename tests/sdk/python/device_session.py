"""A device's first day: it registers, goes to its hub, sends, reports, and reads its twin."""

import json

from azure.iot.device import IoTHubDeviceClient, Message

from settings import saw


def run(provisioning_client, connect):
    """Registers with a client of DPS, then uses `connect(hub, device_id)` for a client of the hub."""
    result = provisioning_client.register()
    state = result.registration_state
    saw(status=result.status, hub=state.assigned_hub, device=state.device_id)
    assert result.status == "assigned", result.status

    client: IoTHubDeviceClient = connect(state.assigned_hub, state.device_id)
    client.connect()
    try:
        message = Message(json.dumps({"temperature": 21.5}))
        message.content_type = "application/json"
        message.content_encoding = "utf-8"
        message.custom_properties["level"] = "normal"
        client.send_message(message)
        client.patch_twin_reported_properties({"firmware": "1.0.0"})
        twin = client.get_twin()
        assert twin["reported"]["firmware"] == "1.0.0", twin
        saw(connected=client.connected, reportedVersion=twin["reported"]["$version"])
    finally:
        client.shutdown()
