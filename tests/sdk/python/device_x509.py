"""A device with a certificate registers and works.

Arguments: its registration ID, `mqtt` or `websocket`, its full chain, its key.
"""

import sys

from azure.iot.device import IoTHubDeviceClient, ProvisioningDeviceClient, X509

import device_session
from settings import HOST, ID_SCOPE, device_options

registration_id, transport, chain, key = sys.argv[1:]
identity = X509(cert_file=chain, key_file=key)
options = device_options(transport)

provisioning = ProvisioningDeviceClient.create_from_x509_certificate(
    provisioning_host=HOST,
    registration_id=registration_id,
    id_scope=ID_SCOPE,
    x509=identity,
    **options,
)


def connect(hub, device_id):
    return IoTHubDeviceClient.create_from_x509_certificate(
        x509=identity, hostname=hub, device_id=device_id, **options
    )


device_session.run(provisioning, connect)
