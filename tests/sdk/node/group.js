// An enrollment group for the devices of a CA: made, read, changed by its ETag.
// Arguments: the name of the group, the CA's certificate.

import { readFileSync } from 'node:fs';
import { ProvisioningServiceClient } from 'azure-iot-provisioning-service';
import { ARGUMENTS, SERVICE, saw } from './settings.js';

const [enrollmentGroupId, path] = ARGUMENTS;
const service = ProvisioningServiceClient.fromConnectionString(SERVICE);

await service.createOrUpdateEnrollmentGroup({
  enrollmentGroupId,
  attestation: {
    type: 'x509',
    x509: { signingCertificates: { primary: { certificate: readFileSync(path, 'utf8') } } },
  },
  initialTwin: { tags: { line: 1 }, properties: { desired: {} } },
});
const { responseBody: group } = await service.getEnrollmentGroup(enrollmentGroupId);
saw({ issuer: group.attestation.x509.signingCertificates.primary.info.subjectName });

// As every client does: what was read goes back, without the certificate, which stays.
const { responseBody: changed } = await service.createOrUpdateEnrollmentGroup({
  ...group,
  initialTwin: { tags: { line: 2 }, properties: { desired: {} } },
});
saw({ line: changed.initialTwin.tags.line, etagChanged: changed.etag !== group.etag });

try {
  await service.createOrUpdateEnrollmentGroup({ ...group, provisioningStatus: 'disabled' });
} catch (error) {
  saw({ stale: error.name, status: error.response.statusCode });
}
