// 250 enrollments, made ten a call and read back in pages of 100: each is seen once.

import { ProvisioningServiceClient } from 'azure-iot-provisioning-service';
import { SERVICE, saw } from './settings.js';

const COUNT = 250;
const service = ProvisioningServiceClient.fromConnectionString(SERVICE);

/** What a call with a callback comes to; some of the SDK's promises are never kept. */
const called = (call) =>
  new Promise((resolve, reject) => {
    call((error, result) => (error ? reject(error) : resolve(result)));
  });

for (let first = 0; first < COUNT; first += 10) {
  const enrollments = Array.from({ length: 10 }, (_, index) => ({
    registrationId: `page-${first + index}`,
    attestation: { type: 'symmetricKey' },
  }));
  const { isSuccessful } = await called((done) =>
    service.runBulkEnrollmentOperation({ mode: 'create', enrollments }, done),
  );
  if (!isSuccessful) throw new Error(`the call that begins with ${first} failed`);
}

const query = service.createIndividualEnrollmentQuery({ query: 'SELECT * FROM enrollments' }, 100);
const pages = [];
const seen = new Set();
while (query.hasMoreResults) {
  const page = await called((done) => query.next(done));
  pages.push(page.length);
  page.forEach(({ registrationId }) => seen.add(registrationId));
}
saw({ pages, seen: seen.size });
