"""A device that DPS does not let in learns it as the SDK's own exception, without waiting for ever."""

import os

from azure.iot.device import ProvisioningDeviceClient, X509
from azure.iot.device.exceptions import ClientError

from settings import HOST, ID_SCOPE, REGISTRATION_ID, is_websocket, saw, trust_anchor

provisioning = ProvisioningDeviceClient.create_from_x509_certificate(
    provisioning_host=HOST,
    registration_id=REGISTRATION_ID,
    id_scope=ID_SCOPE,
    x509=X509(cert_file=os.environ["DPS_CERTIFICATE"], key_file=os.environ["DPS_KEY"]),
    server_verification_cert=trust_anchor(),
    websockets=is_websocket(),
)
try:
    result = provisioning.register()
except ClientError as error:
    saw(refused=type(error).__name__, cause=str(error.__cause__))
else:
    saw(status=result.status)
    assert result.status != "assigned", "the device was let in"
