"""A CA certificate is uploaded through ARM and proven by `dps-pki possession`.

Arguments: the name of the authority, its certificate.
"""

import base64
import os
import subprocess
import sys
from pathlib import Path

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.mgmt.iothubprovisioningservices import IotDpsClient

from credential import AnyToken
from settings import ARM, INSTANCE, SUBSCRIPTION, saw

authority, path = sys.argv[1:]
certificates = IotDpsClient(
    AnyToken(), SUBSCRIPTION, base_url=ARM, credential_scopes=[f"{ARM}/.default"]
).dps_certificate


def if_unchanged(certificate):
    return {"etag": certificate.etag, "match_condition": MatchConditions.IfNotModified}


pem = Path(path).read_bytes()
uploaded = certificates.create_or_update(
    **INSTANCE,
    certificate_name=authority,
    certificate_description={"properties": {"certificate": base64.b64encode(pem).decode()}},
)
assert not uploaded.properties.is_verified

asked = certificates.generate_verification_code(authority, **INSTANCE, **if_unchanged(uploaded))
code = asked.properties.verification_code

# A certificate that proves nothing is refused, and the code is still good.
try:
    certificates.verify_certificate(
        authority, **INSTANCE, request={"certificate": pem.decode()}, **if_unchanged(asked)
    )
except HttpResponseError as error:
    saw(unproven=error.status_code)

dps_pki = os.environ["DPS_PKI"]
proving = [dps_pki, "possession", authority, code, "--out", "proof.pem"]
subprocess.run(proving, check=True, stdout=subprocess.DEVNULL)
proven = certificates.verify_certificate(
    authority,
    **INSTANCE,
    request={"certificate": Path("proof.pem").read_text()},
    **if_unchanged(asked),
)
saw(verified=proven.properties.is_verified)
listed = certificates.list(**INSTANCE).value
saw(listed=[[certificate.name, certificate.properties.is_verified] for certificate in listed])
