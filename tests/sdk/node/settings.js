// Where the emulator is, as `dps-pki emulator --print-env` says it, and how a scenario says what it saw.
// Trust comes by NODE_EXTRA_CA_CERTS. The SDKs have the ports 443 and 8883 built in, so it runs as:
//
//     dps-pki emulator --listen localhost:443 --hub localhost --print-env

const { env } = process;

export const HOST = env.PROVISIONING_HOST;
export const ID_SCOPE = env.PROVISIONING_IDSCOPE;
export const SERVICE = env.PROVISIONING_CONNECTION_STRING;
export const HUB = env.IOTHUB_CONNECTION_STRING;
export const ARM = env.DPS_EMULATOR_ARM_ENDPOINT;
export const SUBSCRIPTION = env.AZURE_SUBSCRIPTION_ID;
export const GROUP = env.AZURE_RESOURCE_GROUP;
export const INSTANCE = env.DPS_EMULATOR_NAME;

/** The arguments of the scenario. */
export const ARGUMENTS = process.argv.slice(2);

/** A credential for clients of ARM. The emulator takes any token; Entra ID is not asked. */
export const anyToken = {
  getToken: async () => ({ token: 'any', expiresOnTimestamp: Date.now() + 3600_000 }),
};

/** One line of JSON for whoever runs the scenario. */
export function saw(facts) {
  console.log(JSON.stringify(facts));
}
