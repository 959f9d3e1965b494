"""A device with a shared key registers and works: MQTT, or WebSocket with DPS_TRANSPORT=websocket."""

import os

from azure.iot.device import IoTHubDeviceClient, ProvisioningDeviceClient

import device_session
from settings import HOST, ID_SCOPE, REGISTRATION_ID, is_websocket, trust_anchor

key = os.environ["DPS_SYMMETRIC_KEY"]
options = {"server_verification_cert": trust_anchor(), "websockets": is_websocket()}

provisioning = ProvisioningDeviceClient.create_from_symmetric_key(
    provisioning_host=HOST,
    registration_id=REGISTRATION_ID,
    id_scope=ID_SCOPE,
    symmetric_key=key,
    **options,
)


def connect(hub, device_id):
    return IoTHubDeviceClient.create_from_symmetric_key(
        symmetric_key=key, hostname=hub, device_id=device_id, **options
    )


device_session.run(provisioning, connect)
