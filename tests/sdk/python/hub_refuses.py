"""A hub identity is disabled through the hub's registry; its device is thrown out and stays out.

Arguments: its registration ID, `mqtt` or `websocket`, its full chain, its key.
"""

import sys
import threading

from azure.iot.device import IoTHubDeviceClient, X509
from azure.iot.device.exceptions import CredentialError
from azure.iot.hub import IoTHubRegistryManager

from settings import HUB, device_options, saw

device_id, transport, chain, key = sys.argv[1:]
registry = IoTHubRegistryManager.from_connection_string(HUB)


def client():
    return IoTHubDeviceClient.create_from_x509_certificate(
        x509=X509(cert_file=chain, key_file=key),
        hostname=dict(part.split("=", 1) for part in HUB.split(";"))["HostName"],
        device_id=device_id,
        connection_retry=False,
        **device_options(transport),
    )


working = client()
gone = threading.Event()
working.on_connection_state_change = lambda: working.connected or gone.set()
working.connect()

device = registry.get_device(device_id)
thumbprint = device.authentication.x509_thumbprint
registry.update_device_with_x509(
    device_id,
    device.etag,
    thumbprint.primary_thumbprint,
    thumbprint.secondary_thumbprint,
    "disabled",
)
assert gone.wait(30), "the hub keeps the connection of a disabled device"
working.shutdown()

again = client()
try:
    again.connect()
except CredentialError as error:
    saw(refused=type(error).__name__)
else:
    raise AssertionError("the hub let a disabled device in")
finally:
    again.shutdown()
