"""Enrolls one device by its own certificate.

Arguments: its registration ID, its certificate.
"""

import sys
from pathlib import Path

from azure.iot.deviceprovisioning import DeviceProvisioningClient

from settings import SERVICE, saw

registration_id, path = sys.argv[1:]
certificate = {"certificate": Path(path).read_text()}
enrollments = DeviceProvisioningClient.from_connection_string(SERVICE).enrollment
made = enrollments.create_or_update(
    registration_id,
    {
        "registrationId": registration_id,
        "attestation": {
            "type": "x509",
            "x509": {"clientCertificates": {"primary": certificate}},
        },
    },
)
primary = made["attestation"]["x509"]["clientCertificates"]["primary"]
saw(subject=primary["info"]["subjectName"], thumbprint=primary["info"]["sha256Thumbprint"])
