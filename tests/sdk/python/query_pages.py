"""Enrollments that are there, in pages of 100: each is seen once."""

from azure.iot.deviceprovisioning import DeviceProvisioningClient

from settings import SERVICE, saw

enrollments = DeviceProvisioningClient.from_connection_string(SERVICE).enrollment
query = {"query": "SELECT * FROM enrollments"}
pages = [
    [enrollment["registrationId"] for enrollment in page]
    for page in enrollments.query(query, top=100).by_page()
]
saw(pages=[len(page) for page in pages], seen=len({id for page in pages for id in page}))
