"""A device with a certificate registers and works: MQTT, or WebSocket with DPS_TRANSPORT=websocket."""

import os

from azure.iot.device import IoTHubDeviceClient, ProvisioningDeviceClient, X509

import device_session
from settings import HOST, ID_SCOPE, REGISTRATION_ID, is_websocket, trust_anchor

identity = X509(cert_file=os.environ["DPS_CERTIFICATE"], key_file=os.environ["DPS_KEY"])
options = {"server_verification_cert": trust_anchor(), "websockets": is_websocket()}

provisioning = ProvisioningDeviceClient.create_from_x509_certificate(
    provisioning_host=HOST,
    registration_id=REGISTRATION_ID,
    id_scope=ID_SCOPE,
    x509=identity,
    **options,
)


def connect(hub, device_id):
    return IoTHubDeviceClient.create_from_x509_certificate(
        x509=identity, hostname=hub, device_id=device_id, **options
    )


device_session.run(provisioning, connect)
