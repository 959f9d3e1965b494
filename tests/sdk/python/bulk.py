"""Ten enrollments in one call, one of which is there already: nine are made and one error is told."""

from azure.iot.deviceprovisioning import DeviceProvisioningClient

from settings import SERVICE, saw

enrollments = DeviceProvisioningClient.from_connection_string(SERVICE).enrollment


def enrollment(number):
    return {
        "registrationId": f"bulk-{number}",
        "attestation": {"type": "symmetricKey"},
    }


enrollments.create_or_update("bulk-7", enrollment(7))
result = enrollments.run_bulk_operation(
    {"mode": "create", "enrollments": [enrollment(number) for number in range(10)]}
)
saw(
    isSuccessful=result["isSuccessful"],
    failed=[error["registrationId"] for error in result["errors"]],
    made=sum(enrollments.get(f"bulk-{number}")["registrationId"] == f"bulk-{number}"
             for number in range(10)),
)
