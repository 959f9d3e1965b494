// The hub's own view of its devices: an identity that DPS made, one by hand, the count.
// Argument: a device that has registered.

import iothub from 'azure-iothub';
import { ARGUMENTS, HUB, saw } from './settings.js';

const [deviceId] = ARGUMENTS;
const registry = iothub.Registry.fromConnectionString(HUB);

const { responseBody: made } = await registry.get(deviceId);
saw({ device: made.deviceId, type: made.authentication.type, status: made.status });

const { responseBody: other } = await registry.create({ deviceId: 'by-hand' });
saw({ device: other.deviceId, type: other.authentication.type });
await registry.delete('by-hand');
try {
  await registry.get('by-hand');
} catch (error) {
  saw({ gone: error.name });
}
const { responseBody: statistics } = await registry.getRegistryStatistics();
saw({ total: statistics.totalDeviceCount });
