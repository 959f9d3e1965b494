// A device with a certificate registers, goes to its hub, sends and reads its twin.
// Arguments: its registration ID, `https`, `mqtt` or `websocket`, its full chain, its key.

import { readFileSync } from 'node:fs';
import device from 'azure-iot-device';
import hubMqtt from 'azure-iot-device-mqtt';
import provisioning from 'azure-iot-provisioning-device';
import { Http } from 'azure-iot-provisioning-device-http';
import dpsMqtt from 'azure-iot-provisioning-device-mqtt';
import { X509Security } from 'azure-iot-security-x509';
import { ARGUMENTS, HOST, ID_SCOPE, saw } from './settings.js';

const transports = {
  https: { dps: Http, hub: hubMqtt.Mqtt },
  mqtt: { dps: dpsMqtt.Mqtt, hub: hubMqtt.Mqtt },
  websocket: { dps: dpsMqtt.MqttWs, hub: hubMqtt.MqttWs },
};

const [registrationId, transport, chain, key] = ARGUMENTS;
const identity = { cert: readFileSync(chain, 'utf8'), key: readFileSync(key, 'utf8') };
const { dps, hub } = transports[transport];

const security = new X509Security(registrationId, identity);
const { ProvisioningDeviceClient } = provisioning;
const dpsClient = ProvisioningDeviceClient.create(HOST, ID_SCOPE, new dps(), security);
const { assignedHub, deviceId, status } = await dpsClient.register();
saw({ status, hub: assignedHub, device: deviceId });

const client = device.Client.fromConnectionString(
  `HostName=${assignedHub};DeviceId=${deviceId};x509=true`,
  hub,
);
await client.setOptions(identity);
await client.open();
await client.sendEvent(new device.Message(JSON.stringify({ temperature: 21.5 })));
const twin = await client.getTwin();
await new Promise((resolve, reject) => {
  twin.properties.reported.update({ firmware: '1.0.0' }, (error) =>
    error ? reject(error) : resolve(),
  );
});
saw({ connected: true, desiredVersion: twin.properties.desired.$version });
await client.close();
