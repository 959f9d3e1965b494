// A CA certificate is uploaded through ARM and proven by `dps-pki possession`.
// Arguments: the name of the authority, its certificate.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { IotDpsClient } from '@azure/arm-deviceprovisioningservices';
import { ARGUMENTS, ARM, GROUP, INSTANCE, SUBSCRIPTION, anyToken, saw } from './settings.js';

const [authority, path] = ARGUMENTS;
const { dpsCertificate } = new IotDpsClient(anyToken, SUBSCRIPTION, { endpoint: ARM });

const uploaded = await dpsCertificate.createOrUpdate(GROUP, INSTANCE, authority, {
  properties: { certificate: readFileSync(path) },
});
const asked = await dpsCertificate.generateVerificationCode(
  authority,
  uploaded.etag,
  GROUP,
  INSTANCE,
);
const code = asked.properties.verificationCode;
execFileSync(process.env.DPS_PKI, ['possession', authority, code, '--out', 'proof.pem']);
const proven = await dpsCertificate.verifyCertificate(authority, asked.etag, GROUP, INSTANCE, {
  certificate: readFileSync('proof.pem', 'utf8'),
});
saw({ before: uploaded.properties.isVerified, verified: proven.properties.isVerified });

try {
  await dpsCertificate.delete(GROUP, INSTANCE, authority, uploaded.etag);
} catch (error) {
  saw({ stale: error.name, status: error.statusCode });
}
await dpsCertificate.delete(GROUP, INSTANCE, authority, proven.etag);
const { value } = await dpsCertificate.list(GROUP, INSTANCE);
saw({ left: value.map(({ name }) => name) });
