//! `pki.toml` as written: which tables and keys there are, and what kind of value each takes.
//!
//! Every table's keys stand in a constant; [`super::reader`] refuses all others.
//! Nothing here compares one table with another: that is [`super::resolve`].

use std::num::NonZeroU32;

use serde_json::{Map, Value, json};

use super::AuthorityKey;
use super::dps::{ApiVersions, Endpoint, EntraIdentity, SignIn, VerifiedBy};
use super::error::DeclarationError;
use super::reader::{Field, Table, document};
use crate::enrollment::{AllocationPolicy, ProvisioningStatus, ReprovisionPolicy};
use crate::ids::{
    AuthorityName, CertificateName, DpsName, EnrollmentGroupId, HubHostName, IdScope, ProfileName,
};
use crate::key::{KeyAlgorithm, Pkcs11Uri};
use crate::name::DistinguishedName;
use crate::profile::{CrlUrl, KeyPurpose};
use crate::secret::SecretSource;
use crate::time::Span;

const FILE: &[&str] = &["issuance", "authority", "profile", "dps"];
const ISSUANCE: &[&str] = &["backdate"];
const AUTHORITY: &[&str] = &[
    "issuer",
    "subject",
    "key",
    "key-store",
    "validity",
    "path-length",
];
const PROFILE: &[&str] = &[
    "key",
    "csr-keys",
    "validity",
    "extended-key-usage",
    "crl-distribution-point",
    "warehouse-time",
];
const DPS: &[&str] = &[
    "service",
    "device",
    "id-scope",
    "connection-string",
    "token",
    "token-scope",
    "entra",
    "management",
    "trust-anchor",
    "api-version",
    "rate",
    "hub",
    "ca",
    "group",
];
const ENTRA: &[&str] = &[
    "developer-tools",
    "managed-identity",
    "workload-identity",
    "client-secret",
    "authority-host",
];
/// The sub-tables of `[dps.NAME.entra]`, of which one names who signs in.
const IDENTITIES: &str = "developer-tools, managed-identity, workload-identity, client-secret";
const MANAGED_IDENTITY: &[&str] = &["client"];
const CLIENT_SECRET: &[&str] = &["tenant", "client", "secret"];
const MANAGEMENT: &[&str] = &[
    "endpoint",
    "subscription",
    "resource-group",
    "name",
    "token",
    "token-scope",
];
const API_VERSION: &[&str] = &["management", "service", "device", "hub"];
const HUB: &[&str] = &["endpoint", "connection-string", "token", "token-scope"];
const CA: &[&str] = &["authority", "verified-by"];
const GROUP: &[&str] = &[
    "authority",
    "attestation",
    "status",
    "hubs",
    "reprovision",
    "allocation",
    "initial-twin",
];
const TWIN: &[&str] = &["tags", "properties"];
const TWIN_PROPERTIES: &[&str] = &["desired"];

/// The whole file.
pub(super) struct File {
    pub(super) backdate: Option<Span>,
    pub(super) authorities: Vec<AuthorityTable>,
    pub(super) profiles: Vec<ProfileTable>,
    pub(super) dps: Vec<DpsTable>,
}

/// `[authority.NAME]`.
pub(super) struct AuthorityTable {
    pub(super) name: Field<AuthorityName>,
    pub(super) issuer: Option<Field<AuthorityName>>,
    pub(super) subject: Field<DistinguishedName>,
    pub(super) key: AuthorityKey,
    pub(super) validity: Field<Span>,
    pub(super) path_length: Option<Field<u8>>,
}

/// `[profile.NAME]`.
pub(super) struct ProfileTable {
    pub(super) name: Field<ProfileName>,
    pub(super) key: Field<KeyAlgorithm>,
    pub(super) csr_keys: Option<Vec<KeyAlgorithm>>,
    pub(super) validity: Field<Span>,
    pub(super) extended_key_usage: Vec<KeyPurpose>,
    pub(super) crl_distribution_point: Option<CrlUrl>,
    pub(super) warehouse_time: Option<Field<Span>>,
}

/// `[dps.NAME]`.
pub(super) struct DpsTable {
    pub(super) name: Field<DpsName>,
    pub(super) service: Endpoint,
    pub(super) device: Option<Endpoint>,
    pub(super) id_scope: Option<IdScope>,
    pub(super) sign_in: Option<SignIn>,
    pub(super) token_scope: Option<String>,
    pub(super) entra: Option<EntraTable>,
    pub(super) management: Option<ManagementTable>,
    pub(super) trust_anchor: Option<String>,
    pub(super) api_versions: ApiVersions,
    pub(super) rate: Option<NonZeroU32>,
    pub(super) hubs: Vec<HubTable>,
    pub(super) ca: Vec<CaTable>,
    pub(super) groups: Vec<GroupTable>,
}

/// `[dps.NAME.entra]`.
pub(super) struct EntraTable {
    pub(super) identity: EntraIdentity,
    pub(super) authority_host: Option<Endpoint>,
}

/// `[dps.NAME.management]`.
pub(super) struct ManagementTable {
    pub(super) endpoint: Option<Endpoint>,
    pub(super) subscription: String,
    pub(super) resource_group: String,
    /// The resource name; the first label of an address in Azure if left out.
    pub(super) name: Option<String>,
    pub(super) sign_in: Option<SignIn>,
    pub(super) token_scope: Option<String>,
    /// The table, for the error that the name was left out where nothing else tells it.
    pub(super) itself: Field<()>,
}

/// `[dps.NAME.hub."HOST"]`.
pub(super) struct HubTable {
    pub(super) name: Field<HubHostName>,
    pub(super) endpoint: Option<Endpoint>,
    pub(super) sign_in: Option<SignIn>,
    pub(super) token_scope: Option<String>,
}

/// `[dps.NAME.ca.NAME]`.
pub(super) struct CaTable {
    pub(super) name: Field<CertificateName>,
    pub(super) authority: Field<AuthorityName>,
    pub(super) verified_by: VerifiedBy,
}

/// `[dps.NAME.group.ID]`.
pub(super) struct GroupTable {
    pub(super) id: Field<EnrollmentGroupId>,
    pub(super) authority: Field<AuthorityName>,
    pub(super) attestation: Option<Field<AttestationWord>>,
    pub(super) status: ProvisioningStatus,
    pub(super) hubs: Vec<HubHostName>,
    pub(super) reprovision: Option<ReprovisionPolicy>,
    pub(super) allocation: Option<AllocationPolicy>,
    pub(super) initial_twin: Option<Value>,
}

/// The kinds of attestation that a group may declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttestationWord {
    SigningCertificate,
    CaReference,
}

/// Reads the file.
pub(super) fn read(text: &str) -> Result<File, DeclarationError> {
    document(text, FILE, |file| {
        let issuance = file.table("issuance", ISSUANCE)?;
        let backdate = issuance.map(|table| table.text("backdate")).transpose()?;
        Ok(File {
            backdate: backdate.flatten().map(|field| field.value),
            authorities: each(file.named("authority", AUTHORITY)?, authority)?,
            profiles: each(file.named("profile", PROFILE)?, profile)?,
            dps: each(file.named("dps", DPS)?, dps)?,
        })
    })
}

fn each<'a, N, T>(
    tables: Vec<(Field<N>, Table<'a>)>,
    read: fn(Field<N>, Table<'a>) -> Result<T, DeclarationError>,
) -> Result<Vec<T>, DeclarationError> {
    tables
        .into_iter()
        .map(|(name, table)| read(name, table))
        .collect()
}

fn authority(
    name: Field<AuthorityName>,
    table: Table<'_>,
) -> Result<AuthorityTable, DeclarationError> {
    Ok(AuthorityTable {
        name,
        issuer: table.text("issuer")?,
        subject: table.required_text("subject")?,
        key: authority_key(&table)?,
        validity: validity(&table)?,
        path_length: table.number("path-length", "a number from 0 to 255")?,
    })
}

fn authority_key(table: &Table<'_>) -> Result<AuthorityKey, DeclarationError> {
    let key: Field<String> = table.required_text("key")?;
    let store: Option<Field<Pkcs11Uri>> = table.text("key-store")?;
    let in_token = key.value.starts_with(Pkcs11Uri::SCHEME);
    match store {
        None if in_token => {
            let uri: Field<Pkcs11Uri> = key.reparsed()?;
            match uri.value {
                Pkcs11Uri {
                    object: None,
                    id: None,
                    ..
                } => Err(key.invalid(
                    "the URI names no object; add object=LABEL, or give the kind of key here and the token as key-store",
                )),
                uri => Ok(AuthorityKey::InToken(uri)),
            }
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
            store: store.value,
        }),
    }
}

fn profile(name: Field<ProfileName>, table: Table<'_>) -> Result<ProfileTable, DeclarationError> {
    Ok(ProfileTable {
        name,
        key: table.required_text("key")?,
        csr_keys: csr_keys(&table)?,
        validity: validity(&table)?,
        extended_key_usage: extended_key_usage(&table)?,
        crl_distribution_point: table
            .text("crl-distribution-point")?
            .map(|url: Field<CrlUrl>| url.value),
        warehouse_time: table.text("warehouse-time")?,
    })
}

fn csr_keys(table: &Table<'_>) -> Result<Option<Vec<KeyAlgorithm>>, DeclarationError> {
    let words = KeyAlgorithm::ALL.map(|algorithm| (algorithm.name(), algorithm));
    let Some(keys) = table.words("csr-keys", &words)? else {
        return Ok(None);
    };
    if keys.is_empty() {
        Err(table
            .itself()
            .invalid("csr-keys is empty; leave it out to take every strong key"))
    } else {
        Ok(Some(keys.iter().map(|key| key.value).collect()))
    }
}

fn validity(table: &Table<'_>) -> Result<Field<Span>, DeclarationError> {
    let validity: Field<Span> = table.required_text("validity")?;
    match validity.value.seconds() {
        0 => Err(validity.invalid("a certificate that is valid for no time is of no use")),
        _ => Ok(validity),
    }
}

fn extended_key_usage(table: &Table<'_>) -> Result<Vec<KeyPurpose>, DeclarationError> {
    const WORDS: [(&str, KeyPurpose); 2] = [
        ("client-auth", KeyPurpose::ClientAuth),
        ("server-auth", KeyPurpose::ServerAuth),
    ];
    let Some(words) = table.words("extended-key-usage", &WORDS)? else {
        return Ok(vec![KeyPurpose::ClientAuth]);
    };
    let mut purposes: Vec<KeyPurpose> = words.iter().map(|word| word.value).collect();
    purposes.sort_unstable();
    purposes.dedup();
    if purposes.is_empty() {
        return Err(table
            .itself()
            .invalid("extended-key-usage is empty; leave it out for [\"client-auth\"]"));
    }
    Ok(purposes)
}

fn dps(name: Field<DpsName>, table: Table<'_>) -> Result<DpsTable, DeclarationError> {
    let entra_table = table.table("entra", ENTRA)?;
    let management_table = table.table("management", MANAGEMENT)?;
    let version_table = table.table("api-version", API_VERSION)?;
    Ok(DpsTable {
        name,
        service: table.required_text("service")?.value,
        device: table.text("device")?.map(|field| field.value),
        id_scope: table.text("id-scope")?.map(|field| field.value),
        sign_in: sign_in(&table)?,
        token_scope: filled(&table, "token-scope")?,
        entra: entra_table.map(entra).transpose()?,
        management: management_table.map(management).transpose()?,
        trust_anchor: filled(&table, "trust-anchor")?,
        api_versions: version_table
            .map(api_versions)
            .transpose()?
            .unwrap_or_default(),
        rate: rate(&table)?,
        hubs: each(table.named("hub", HUB)?, hub)?,
        ca: each(table.named("ca", CA)?, ca)?,
        groups: each(table.named("group", GROUP)?, group)?,
    })
}

fn rate(table: &Table<'_>) -> Result<Option<NonZeroU32>, DeclarationError> {
    const WANTED: &str = "a number of requests per minute, 1 or more";
    let Some(rate) = table.number::<u32>("rate", WANTED)? else {
        return Ok(None);
    };
    match NonZeroU32::new(rate.value) {
        Some(number) => Ok(Some(number)),
        None => Err(rate.invalid(format!("0 is not {WANTED}"))),
    }
}

fn sign_in(table: &Table<'_>) -> Result<Option<SignIn>, DeclarationError> {
    let connection_string: Option<Field<SecretSource>> = table.text("connection-string")?;
    let token: Option<Field<SecretSource>> = table.text("token")?;
    match (connection_string, token) {
        (Some(_), Some(token)) => {
            Err(token.invalid("there is a connection-string too; keep one of them"))
        }
        (Some(source), None) => Ok(Some(SignIn::ConnectionString(source.value))),
        (None, Some(source)) => Ok(Some(SignIn::Token(source.value))),
        (None, None) => Ok(None),
    }
}

/// One sub-table names the identity; it may be left out beside another authority host.
fn entra(table: Table<'_>) -> Result<EntraTable, DeclarationError> {
    let authority_host = table.text("authority-host")?.map(|field| field.value);
    let mut chosen = Vec::new();
    if table.table("developer-tools", &[])?.is_some() {
        chosen.push(EntraIdentity::DeveloperTools);
    }
    if let Some(inner) = table.table("managed-identity", MANAGED_IDENTITY)? {
        let client = filled(&inner, "client")?;
        chosen.push(EntraIdentity::ManagedIdentity { client });
    }
    if table.table("workload-identity", &[])?.is_some() {
        chosen.push(EntraIdentity::WorkloadIdentity);
    }
    if let Some(inner) = table.table("client-secret", CLIENT_SECRET)? {
        chosen.push(EntraIdentity::ClientSecret {
            tenant: inner.required("tenant", filled(&inner, "tenant")?)?,
            client: inner.required("client", filled(&inner, "client")?)?,
            secret: inner.required_text("secret")?.value,
        });
    }
    let identity = match chosen.len() {
        0 | 1 if authority_host.is_some() || !chosen.is_empty() => chosen.pop(),
        _ => {
            let problem = format!("exactly one of {IDENTITIES} must be there");
            return Err(table.itself().invalid(problem));
        }
    };
    Ok(EntraTable {
        identity: identity.unwrap_or_default(),
        authority_host,
    })
}

fn management(table: Table<'_>) -> Result<ManagementTable, DeclarationError> {
    let token: Option<Field<SecretSource>> = table.text("token")?;
    Ok(ManagementTable {
        itself: table.itself(),
        endpoint: table.text("endpoint")?.map(|field| field.value),
        subscription: table.required("subscription", filled(&table, "subscription")?)?,
        resource_group: table.required("resource-group", filled(&table, "resource-group")?)?,
        name: filled(&table, "name")?,
        sign_in: token.map(|field| SignIn::Token(field.value)),
        token_scope: filled(&table, "token-scope")?,
    })
}

fn api_versions(table: Table<'_>) -> Result<ApiVersions, DeclarationError> {
    Ok(ApiVersions {
        management: filled(&table, "management")?,
        service: filled(&table, "service")?,
        device: filled(&table, "device")?,
        hub: filled(&table, "hub")?,
    })
}

fn hub(name: Field<HubHostName>, table: Table<'_>) -> Result<HubTable, DeclarationError> {
    Ok(HubTable {
        name,
        endpoint: table.text("endpoint")?.map(|field| field.value),
        sign_in: sign_in(&table)?,
        token_scope: filled(&table, "token-scope")?,
    })
}

fn ca(name: Field<CertificateName>, table: Table<'_>) -> Result<CaTable, DeclarationError> {
    const WORDS: [(&str, VerifiedBy); 2] = [
        ("possession", VerifiedBy::Possession),
        ("self-attestation", VerifiedBy::SelfAttestation),
    ];
    let authority = match table.text("authority")? {
        Some(authority) => authority,
        None => name.reparsed()?,
    };
    let verified_by = table.word("verified-by", &WORDS)?;
    Ok(CaTable {
        name,
        authority,
        verified_by: verified_by.map_or(VerifiedBy::Possession, |field| field.value),
    })
}

fn group(id: Field<EnrollmentGroupId>, table: Table<'_>) -> Result<GroupTable, DeclarationError> {
    const ATTESTATION: [(&str, AttestationWord); 2] = [
        ("signing-certificate", AttestationWord::SigningCertificate),
        ("ca-reference", AttestationWord::CaReference),
    ];
    const STATUS: [(&str, &ProvisioningStatus); 2] = [
        ("enabled", &ProvisioningStatus::Enabled),
        ("disabled", &ProvisioningStatus::Disabled),
    ];
    let status = table.word("status", &STATUS)?;
    let hubs: Option<Vec<Field<HubHostName>>> = table.texts("hubs")?;
    let initial_twin = table.table("initial-twin", TWIN)?;
    Ok(GroupTable {
        id,
        authority: table.required_text("authority")?,
        attestation: table.word("attestation", &ATTESTATION)?,
        status: status.map_or(ProvisioningStatus::Enabled, |field| field.value.clone()),
        hubs: distinct(hubs.unwrap_or_default())?,
        reprovision: reprovision(&table)?,
        allocation: allocation(&table)?,
        initial_twin: initial_twin.map(twin).transpose()?,
    })
}

/// The words of `az iot dps enrollment-group create --reprovision-policy`.
fn reprovision(table: &Table<'_>) -> Result<Option<ReprovisionPolicy>, DeclarationError> {
    const WORDS: [(&str, (bool, bool)); 3] = [
        ("migrate", (true, true)),
        ("reset", (true, false)),
        ("never", (false, false)),
    ];
    let word = table.word("reprovision", &WORDS)?;
    Ok(word.map(|field| ReprovisionPolicy::new(field.value.0, field.value.1)))
}

/// A webhook cannot be declared, so there is no word for custom allocation.
fn allocation(table: &Table<'_>) -> Result<Option<AllocationPolicy>, DeclarationError> {
    const WORDS: [(&str, &AllocationPolicy); 3] = [
        ("hashed", &AllocationPolicy::Hashed),
        ("geo-latency", &AllocationPolicy::GeoLatency),
        ("static", &AllocationPolicy::Static),
    ];
    let word = table.word("allocation", &WORDS)?;
    Ok(word.map(|field| field.value.clone()))
}

/// `tags` and `properties.desired`, as the service takes them.
fn twin(table: Table<'_>) -> Result<Value, DeclarationError> {
    let mut twin = Map::new();
    if let Some(tags) = table.json("tags")? {
        twin.insert("tags".to_owned(), tags);
    }
    if let Some(properties) = table.table("properties", TWIN_PROPERTIES)? {
        let desired = properties.required("desired", properties.json("desired")?)?;
        twin.insert("properties".to_owned(), json!({ "desired": desired }));
    }
    Ok(Value::Object(twin))
}

/// A text that is not empty.
fn filled(table: &Table<'_>, key: &'static str) -> Result<Option<String>, DeclarationError> {
    let Some(field): Option<Field<String>> = table.text(key)? else {
        return Ok(None);
    };
    if field.value.trim().is_empty() {
        Err(field.invalid("is empty; fill it in or leave it out"))
    } else {
        Ok(Some(field.value))
    }
}

fn distinct<T: PartialEq>(fields: Vec<Field<T>>) -> Result<Vec<T>, DeclarationError> {
    for (index, field) in fields.iter().enumerate() {
        if let Some(first) = fields[..index]
            .iter()
            .find(|first| first.value == field.value)
        {
            return Err(field.duplicate(first));
        }
    }
    Ok(fields.into_iter().map(|field| field.value).collect())
}
