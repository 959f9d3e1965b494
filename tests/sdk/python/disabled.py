"""Disables the individual enrollment of a device, by a read, a change and a write with its ETag.

Argument: its registration ID.
"""

import sys

from azure.iot.deviceprovisioning import DeviceProvisioningClient

from settings import SERVICE, saw

(registration_id,) = sys.argv[1:]
enrollments = DeviceProvisioningClient.from_connection_string(SERVICE).enrollment
enrollment = enrollments.get(registration_id)
enrollment["provisioningStatus"] = "disabled"
written = enrollments.create_or_update(
    registration_id, enrollment, headers={"If-Match": enrollment["etag"]}
)
saw(provisioningStatus=written["provisioningStatus"])
