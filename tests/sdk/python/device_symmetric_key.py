"""A device with a shared key is enrolled, registers and works.

Arguments: its registration ID, `mqtt` or `websocket`.
"""

import sys

from azure.iot.device import IoTHubDeviceClient, ProvisioningDeviceClient
from azure.iot.deviceprovisioning import DeviceProvisioningClient

import device_session
from settings import HOST, ID_SCOPE, SERVICE, device_options

registration_id, transport = sys.argv[1:]
options = device_options(transport)

enrollment = DeviceProvisioningClient.from_connection_string(SERVICE).enrollment
enrollment.create_or_update(
    registration_id,
    {"registrationId": registration_id, "attestation": {"type": "symmetricKey"}},
)
mechanism = enrollment.get_attestation_mechanism(registration_id)
key = mechanism["symmetricKey"]["primaryKey"]

provisioning = ProvisioningDeviceClient.create_from_symmetric_key(
    provisioning_host=HOST,
    registration_id=registration_id,
    id_scope=ID_SCOPE,
    symmetric_key=key,
    **options,
)


def connect(hub, device_id):
    return IoTHubDeviceClient.create_from_symmetric_key(
        symmetric_key=key, hostname=hub, device_id=device_id, **options
    )


device_session.run(provisioning, connect)
