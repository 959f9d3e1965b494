//! `pki.toml` as written: which tables and keys there are, and what kind of value each takes.
//!
//! A table is a struct, its keys are the fields, and serde refuses all others. Methods judge what two keys of
//! one table say together. Nothing here compares one table with another: that is [`super::resolve`].

use std::num::NonZeroU32;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::{Map, Value, json};

use super::AuthorityKey;
use super::dps::{ApiVersions, Endpoint, EntraIdentity, SignIn, VerifiedBy};
use super::reader::{Fault, Field, Json, Named, Table, Tables, Word};
use crate::enrollment::{AllocationPolicy, ProvisioningStatus, ReprovisionPolicy};
use crate::ids::{
    AuthorityName, CertificateName, DpsName, EnrollmentGroupId, HubHostName, IdScope, ProfileName,
};
use crate::key::{KeyAlgorithm, Pkcs11Uri};
use crate::name::DistinguishedName;
use crate::profile::{CrlUrl, KeyPurpose};
use crate::secret::SecretSource;
use crate::time::Span;

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) issuance: Table<IssuanceTable>,
    #[serde(default)]
    pub(super) authority: Tables<AuthorityName, AuthorityTable>,
    #[serde(default)]
    pub(super) profile: Tables<ProfileName, ProfileTable>,
    #[serde(default)]
    pub(super) dps: Tables<DpsName, DpsTable>,
}

/// `[issuance]`.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct IssuanceTable {
    pub(super) backdate: Option<Span>,
}

/// `[authority.NAME]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct AuthorityTable {
    pub(super) issuer: Option<Field<AuthorityName>>,
    pub(super) subject: DistinguishedName,
    key: Field<String>,
    key_store: Option<Field<Pkcs11Uri>>,
    #[serde(deserialize_with = "validity")]
    pub(super) validity: Field<Span>,
    pub(super) path_length: Option<Field<u8>>,
    #[serde(default)]
    pub(super) digital_signature: bool,
}

pub(super) type Authority = Named<AuthorityName, AuthorityTable>;

/// `[profile.NAME]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ProfileTable {
    pub(super) key: KeyAlgorithm,
    #[serde(default, deserialize_with = "csr_keys")]
    pub(super) csr_keys: Option<Vec<KeyAlgorithm>>,
    #[serde(deserialize_with = "validity")]
    pub(super) validity: Field<Span>,
    #[serde(default = "client_auth", deserialize_with = "purposes")]
    pub(super) extended_key_usage: Vec<KeyPurpose>,
    pub(super) crl_distribution_point: Option<CrlUrl>,
    pub(super) warehouse_time: Option<Field<Span>>,
}

/// `[dps.NAME]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct DpsTable {
    pub(super) service: Endpoint,
    pub(super) device: Option<Endpoint>,
    pub(super) id_scope: Option<IdScope>,
    connection_string: Option<SecretSource>,
    token: Option<Field<SecretSource>>,
    pub(super) token_scope: Option<Filled>,
    pub(super) entra: Option<Field<Table<EntraTable>>>,
    pub(super) management: Option<Field<Table<ManagementTable>>>,
    pub(super) trust_anchor: Option<Filled>,
    #[serde(default)]
    pub(super) api_version: Table<ApiVersionTable>,
    pub(super) rate: Option<NonZeroU32>,
    #[serde(default)]
    pub(super) hub: Tables<HubHostName, HubTable>,
    #[serde(default)]
    pub(super) ca: Tables<CertificateName, CaTable>,
    #[serde(default)]
    pub(super) group: Tables<EnrollmentGroupId, GroupTable>,
}

/// `[dps.NAME.entra]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct EntraTable {
    developer_tools: Option<Table<Empty>>,
    managed_identity: Option<Table<ManagedIdentityTable>>,
    workload_identity: Option<Table<Empty>>,
    client_secret: Option<Table<ClientSecretTable>>,
    pub(super) authority_host: Option<Endpoint>,
}

/// A table without keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ManagedIdentityTable {
    client: Option<Filled>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientSecretTable {
    tenant: Filled,
    client: Filled,
    secret: SecretSource,
}

/// `[dps.NAME.management]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ManagementTable {
    pub(super) endpoint: Option<Endpoint>,
    pub(super) subscription: Filled,
    pub(super) resource_group: Filled,
    /// The resource name; the first label of an address in Azure if left out.
    pub(super) name: Option<Filled>,
    pub(super) token: Option<SecretSource>,
    pub(super) token_scope: Option<Filled>,
}

/// `[dps.NAME.api-version]`.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct ApiVersionTable {
    management: Option<Filled>,
    service: Option<Filled>,
    device: Option<Filled>,
    hub: Option<Filled>,
}

/// `[dps.NAME.hub."HOST"]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct HubTable {
    pub(super) endpoint: Option<Endpoint>,
    connection_string: Option<SecretSource>,
    token: Option<Field<SecretSource>>,
    pub(super) token_scope: Option<Filled>,
}

/// `[dps.NAME.ca.NAME]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct CaTable {
    /// The one of the table's name if left out.
    pub(super) authority: Option<Field<AuthorityName>>,
    pub(super) verified_by: Option<Word<VerifiedBy>>,
}

/// `[dps.NAME.group.ID]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct GroupTable {
    pub(super) authority: Field<AuthorityName>,
    pub(super) attestation: Option<Word<AttestationWord>>,
    status: Option<Word<StatusWord>>,
    #[serde(default)]
    hubs: Vec<Field<HubHostName>>,
    reprovision: Option<Word<ReprovisionWord>>,
    allocation: Option<Word<AllocationWord>>,
    pub(super) initial_twin: Option<Table<TwinTable>>,
}

/// `[dps.NAME.group.ID.initial-twin]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TwinTable {
    tags: Option<Json>,
    properties: Option<Table<TwinPropertiesTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TwinPropertiesTable {
    desired: Json,
}

/// The kinds of attestation that a group may declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum AttestationWord {
    SigningCertificate,
    CaReference,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum StatusWord {
    Enabled,
    Disabled,
}

/// The words of `az iot dps enrollment-group create --reprovision-policy`.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ReprovisionWord {
    Migrate,
    Reset,
    Never,
}

/// A webhook cannot be declared, so there is no word for custom allocation.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum AllocationWord {
    Hashed,
    GeoLatency,
    Static,
}

/// A text that is not empty.
pub(super) struct Filled(String);

impl From<Filled> for String {
    fn from(filled: Filled) -> Self {
        filled.0
    }
}

impl<'de> Deserialize<'de> for Filled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.trim().is_empty() {
            return Err(D::Error::custom("is empty; fill it in or leave it out"));
        }
        Ok(Self(text))
    }
}

fn validity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Field<Span>, D::Error> {
    let validity = Field::<Span>::deserialize(deserializer)?;
    if validity.value.seconds() == 0 {
        let problem = "a certificate that is valid for no time is of no use";
        return Err(D::Error::custom(problem));
    }
    Ok(validity)
}

fn csr_keys<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<KeyAlgorithm>>, D::Error> {
    let keys = Vec::deserialize(deserializer)?;
    if keys.is_empty() {
        let problem = "is empty; leave it out to take every strong key";
        return Err(D::Error::custom(problem));
    }
    Ok(Some(keys))
}

fn purposes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<KeyPurpose>, D::Error> {
    let words: Vec<Word<KeyPurpose>> = Vec::deserialize(deserializer)?;
    if words.is_empty() {
        let problem = "is empty; leave it out for [\"client-auth\"]";
        return Err(D::Error::custom(problem));
    }
    let mut purposes: Vec<KeyPurpose> = words.into_iter().map(|word| word.0).collect();
    purposes.sort_unstable();
    purposes.dedup();
    Ok(purposes)
}

fn client_auth() -> Vec<KeyPurpose> {
    vec![KeyPurpose::ClientAuth]
}

impl AuthorityTable {
    /// What key the authority's generations get.
    pub(super) fn key(&self) -> Result<AuthorityKey, Fault> {
        let key = &self.key;
        let in_token = key.value.starts_with(Pkcs11Uri::SCHEME);
        match &self.key_store {
            None if in_token => {
                let uri: Pkcs11Uri = key.reparsed()?.value;
                if uri.object.is_none() && uri.id.is_none() {
                    return Err(key.invalid(
                        "the URI names no object; add object=LABEL, or give the kind of key here and the token as key-store",
                    ));
                }
                Ok(AuthorityKey::InToken(uri))
            }
            None => Ok(AuthorityKey::Home(key.reparsed()?.value)),
            Some(store) if in_token => Err(store.invalid(
                "key is an object of a token already; with key-store it must be the kind of key to make",
            )),
            Some(store) if store.value.id.is_some() => Err(store.invalid(
                "an object that is made here is named by object=LABEL, not by id",
            )),
            Some(store) => Ok(AuthorityKey::MadeInToken {
                algorithm: key.reparsed()?.value,
                store: store.value.clone(),
            }),
        }
    }
}

impl DpsTable {
    pub(super) fn sign_in(&self) -> Result<Option<SignIn>, Fault> {
        sign_in(self.connection_string.as_ref(), self.token.as_ref())
    }
}

impl HubTable {
    pub(super) fn sign_in(&self) -> Result<Option<SignIn>, Fault> {
        sign_in(self.connection_string.as_ref(), self.token.as_ref())
    }
}

fn sign_in(
    connection_string: Option<&SecretSource>,
    token: Option<&Field<SecretSource>>,
) -> Result<Option<SignIn>, Fault> {
    match (connection_string, token) {
        (Some(_), Some(token)) => {
            Err(token.invalid("there is a connection-string too; keep one of them"))
        }
        (Some(source), None) => Ok(Some(SignIn::ConnectionString(source.clone()))),
        (None, Some(source)) => Ok(Some(SignIn::Token(source.value.clone()))),
        (None, None) => Ok(None),
    }
}

impl Field<Table<EntraTable>> {
    /// Who signs in, and where: one sub-table names the identity, which may be left out beside another
    /// authority host.
    pub(super) fn sign_in(self) -> Result<(EntraIdentity, Option<Endpoint>), Fault> {
        let wrong = self.invalid(
            "exactly one of developer-tools, managed-identity, workload-identity, client-secret must be there",
        );
        let Table(table) = self.value;
        let mut chosen = Vec::new();
        if table.developer_tools.is_some() {
            chosen.push(EntraIdentity::DeveloperTools);
        }
        if let Some(Table(identity)) = table.managed_identity {
            let client = identity.client.map(String::from);
            chosen.push(EntraIdentity::ManagedIdentity { client });
        }
        if table.workload_identity.is_some() {
            chosen.push(EntraIdentity::WorkloadIdentity);
        }
        if let Some(Table(principal)) = table.client_secret {
            chosen.push(EntraIdentity::ClientSecret {
                tenant: principal.tenant.into(),
                client: principal.client.into(),
                secret: principal.secret,
            });
        }
        match (chosen.pop(), table.authority_host) {
            (Some(identity), host) if chosen.is_empty() => Ok((identity, host)),
            (None, Some(host)) => Ok((EntraIdentity::default(), Some(host))),
            _ => Err(wrong),
        }
    }
}

impl From<ApiVersionTable> for ApiVersions {
    fn from(table: ApiVersionTable) -> Self {
        Self {
            management: table.management.map(String::from),
            service: table.service.map(String::from),
            device: table.device.map(String::from),
            hub: table.hub.map(String::from),
        }
    }
}

impl GroupTable {
    pub(super) fn status(&self) -> ProvisioningStatus {
        match self.status {
            None | Some(Word(StatusWord::Enabled)) => ProvisioningStatus::Enabled,
            Some(Word(StatusWord::Disabled)) => ProvisioningStatus::Disabled,
        }
    }

    pub(super) fn hubs(&self) -> Result<Vec<HubHostName>, Fault> {
        for (index, hub) in self.hubs.iter().enumerate() {
            let mut before = self.hubs[..index].iter();
            if let Some(first) = before.find(|first| first.value == hub.value) {
                return Err(hub.duplicate(first));
            }
        }
        Ok(self.hubs.iter().map(|hub| hub.value.clone()).collect())
    }

    pub(super) fn reprovision(&self) -> Option<ReprovisionPolicy> {
        Some(match self.reprovision?.0 {
            ReprovisionWord::Migrate => ReprovisionPolicy::new(true, true),
            ReprovisionWord::Reset => ReprovisionPolicy::new(true, false),
            ReprovisionWord::Never => ReprovisionPolicy::new(false, false),
        })
    }

    pub(super) fn allocation(&self) -> Option<AllocationPolicy> {
        Some(match self.allocation?.0 {
            AllocationWord::Hashed => AllocationPolicy::Hashed,
            AllocationWord::GeoLatency => AllocationPolicy::GeoLatency,
            AllocationWord::Static => AllocationPolicy::Static,
        })
    }
}

/// As the service takes it.
impl From<TwinTable> for Value {
    fn from(table: TwinTable) -> Self {
        let mut twin = Map::new();
        if let Some(tags) = table.tags {
            twin.insert("tags".to_owned(), tags.0);
        }
        if let Some(Table(properties)) = table.properties {
            let desired = json!({ "desired": properties.desired.0 });
            twin.insert("properties".to_owned(), desired);
        }
        Self::Object(twin)
    }
}
