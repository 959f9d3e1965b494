"""Whoever writes by an old ETag learns it as the SDK's own exception, in both planes.

Argument: a CA certificate.
"""

import base64
import sys
from pathlib import Path

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceModifiedError
from azure.iot.deviceprovisioning import DeviceProvisioningClient
from azure.mgmt.iothubprovisioningservices import IotDpsClient

from credential import AnyToken
from settings import ARM, INSTANCE, SERVICE, SUBSCRIPTION, saw

(path,) = sys.argv[1:]
enrollments = DeviceProvisioningClient.from_connection_string(SERVICE).enrollment
first = enrollments.create_or_update(
    "stale-1", {"registrationId": "stale-1", "attestation": {"type": "symmetricKey"}}
)
by_first = {"headers": {"If-Match": first["etag"]}}
second = enrollments.create_or_update("stale-1", first | {"deviceId": "renamed"}, **by_first)
assert second["etag"] != first["etag"]
try:
    enrollments.create_or_update("stale-1", first | {"deviceId": "lost"}, **by_first)
except HttpResponseError as error:
    saw(service=type(error).__name__, status=error.status_code)
assert enrollments.get("stale-1")["deviceId"] == "renamed"

certificates = IotDpsClient(
    AnyToken(), SUBSCRIPTION, base_url=ARM, credential_scopes=[f"{ARM}/.default"]
).dps_certificate
description = {"properties": {"certificate": base64.b64encode(Path(path).read_bytes()).decode()}}
uploaded = certificates.create_or_update(
    **INSTANCE, certificate_name="stale", certificate_description=description
)
certificates.generate_verification_code(
    "stale", **INSTANCE, etag=uploaded.etag, match_condition=MatchConditions.IfNotModified
)
try:
    certificates.delete(
        **INSTANCE,
        certificate_name="stale",
        etag=uploaded.etag,
        match_condition=MatchConditions.IfNotModified,
    )
except ResourceModifiedError as error:
    saw(arm=type(error).__name__, status=error.status_code)
