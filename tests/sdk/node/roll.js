// One step of a roll by the two slots of an enrollment group: `add` puts a CA into the secondary slot
// beside the one that is there, `finish` makes it the only one.
// Arguments: the name of the group, the step, the CA's certificate.

import { readFileSync } from 'node:fs';
import { ProvisioningServiceClient } from 'azure-iot-provisioning-service';
import { ARGUMENTS, SERVICE, saw } from './settings.js';

const [enrollmentGroupId, step, path] = ARGUMENTS;
const certificate = { certificate: readFileSync(path, 'utf8') };
const service = ProvisioningServiceClient.fromConnectionString(SERVICE);

const { responseBody: group } = await service.getEnrollmentGroup(enrollmentGroupId);
const slots = group.attestation.x509.signingCertificates;
group.attestation.x509.signingCertificates =
  step === 'add' ? { primary: slots.primary, secondary: certificate } : { primary: certificate };
const { responseBody: rolled } = await service.createOrUpdateEnrollmentGroup(group);
const { primary, secondary } = rolled.attestation.x509.signingCertificates;
saw({ primary: primary.info.subjectName, secondary: secondary?.info.subjectName ?? null });
