"""Registration records of a group, page by page; one is deleted, which leaves its hub identity.

Arguments: the enrollment group, the device.
"""

import sys

from azure.core.exceptions import ResourceNotFoundError
from azure.iot.deviceprovisioning import DeviceProvisioningClient
from azure.iot.hub import IoTHubRegistryManager

from settings import HUB, SERVICE, saw

group, device_id = sys.argv[1:]
registrations = DeviceProvisioningClient.from_connection_string(SERVICE).device_registration_state


def pages():
    """The registration IDs of each page of one."""
    for page in registrations.query(group, top=1).by_page():
        yield [record["registrationId"] for record in page]


saw(before=list(pages()))
registration = registrations.get(device_id)
registrations.delete(device_id, headers={"If-Match": registration["etag"]})
try:
    registrations.get(device_id)
except ResourceNotFoundError as error:
    saw(after=list(pages()), gone=type(error).__name__)
identity = IoTHubRegistryManager.from_connection_string(HUB).get_device(device_id)
saw(identity=identity.device_id, status=identity.status)
