"""A device that DPS does not let in learns it from the SDK, without waiting for ever.

Arguments: its registration ID, `mqtt` or `websocket`, its full chain, its key.
"""

import sys

from azure.iot.device import ProvisioningDeviceClient, X509
from azure.iot.device.exceptions import ClientError

from settings import HOST, ID_SCOPE, device_options, saw

registration_id, transport, chain, key = sys.argv[1:]
provisioning = ProvisioningDeviceClient.create_from_x509_certificate(
    provisioning_host=HOST,
    registration_id=registration_id,
    id_scope=ID_SCOPE,
    x509=X509(cert_file=chain, key_file=key),
    **device_options(transport),
)
try:
    result = provisioning.register()
except ClientError as error:
    saw(refused=type(error).__name__, cause=str(error.__cause__))
else:
    saw(status=result.status)
    assert result.status != "assigned", "the device was let in"
