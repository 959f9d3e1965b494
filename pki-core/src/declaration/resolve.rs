//! Cross references and limits of `pki.toml`, checked once.

use std::collections::BTreeMap;

use super::dps::{
    CaDeclaration, DpsDeclaration, Endpoint, EntraIdentity, GroupAttestation, GroupDeclaration,
    HubDeclaration, ManagementDeclaration, SignIn,
};
use super::error::{DeclarationError, DeclarationProblem, nearest};
use super::file::{
    AttestationWord, AuthorityTable, CaTable, DpsTable, File, GroupTable, HubTable,
    ManagementTable, ProfileTable,
};
use super::reader::Field;
use super::{AuthorityDeclaration, Declaration, LeafProfile};
use crate::ids::{
    AuthorityName, CertificateName, DpsName, EnrollmentGroupId, HubHostName, ProfileName,
};
use crate::key::KeyAlgorithm;
use crate::time::Span;

/// The CA certificates that one DPS instance holds at most
/// ([DPS limits](https://learn.microsoft.com/azure/iot-dps/about-iot-dps#quotas-and-limits)).
const MOST_CAS: usize = 25;

/// Checks the file and turns it into what the rest trusts.
pub(super) fn resolve(file: File) -> Result<Declaration, DeclarationError> {
    let authorities = Authorities::new(&file.authorities)?;
    authorities.check_lifetimes()?;
    authorities.check_path_lengths()?;
    let profiles = profiles(&file.profiles, &authorities)?;
    let mut dps = BTreeMap::new();
    for table in file.dps {
        let name = table.name.value.clone();
        dps.insert(name, resolve_dps(table, &authorities)?);
    }
    Ok(Declaration {
        authorities: authorities.in_order(),
        profiles,
        backdate: file.backdate.unwrap_or(Declaration::DEFAULT_BACKDATE),
        dps,
    })
}

/// The declared authorities and who issues whom, known to be free of circles.
struct Authorities<'a> {
    tables: &'a [AuthorityTable],
}

impl<'a> Authorities<'a> {
    fn new(tables: &'a [AuthorityTable]) -> Result<Self, DeclarationError> {
        let authorities = Self { tables };
        for table in tables {
            if let Some(issuer) = &table.issuer {
                authorities.named(issuer)?;
            }
        }
        for table in tables {
            authorities.check_circle(table)?;
        }
        Ok(authorities)
    }

    fn find(&self, name: &AuthorityName) -> Option<&'a AuthorityTable> {
        self.tables.iter().find(|table| table.name.value == *name)
    }

    /// The table that a field names, which must be there.
    fn named(&self, field: &Field<AuthorityName>) -> Result<&'a AuthorityTable, DeclarationError> {
        self.find(&field.value).ok_or_else(|| {
            let known = || self.tables.iter().map(|table| table.name.value.as_str());
            field.error(DeclarationProblem::UnknownAuthority {
                name: field.value.to_string(),
                nearest: nearest(field.value.as_str(), known()).map(str::to_owned),
                known: known().map(str::to_owned).collect(),
            })
        })
    }

    fn issuer(&self, table: &AuthorityTable) -> Option<&'a AuthorityTable> {
        self.find(&table.issuer.as_ref()?.value)
    }

    /// The table itself, then its issuer, and so on up to the root.
    fn ancestry(&self, table: &'a AuthorityTable) -> impl Iterator<Item = &'a AuthorityTable> {
        std::iter::successors(Some(table), |table| self.issuer(table))
    }

    fn check_circle(&self, start: &'a AuthorityTable) -> Result<(), DeclarationError> {
        // A walk that is longer than the list of authorities passes one of them twice.
        let walk: Vec<_> = self.ancestry(start).take(self.tables.len() + 1).collect();
        let back = walk[1..]
            .iter()
            .position(|table| table.name.value == start.name.value);
        let (Some(back), Some(issuer)) = (back, &start.issuer) else {
            return Ok(());
        };
        let circle = walk[..back + 2].iter();
        Err(issuer.error(DeclarationProblem::Circle {
            circle: circle.map(|table| table.name.value.to_string()).collect(),
        }))
    }

    fn check_lifetimes(&self) -> Result<(), DeclarationError> {
        for table in self.tables {
            let Some(issuer) = self.issuer(table) else {
                continue;
            };
            if table.validity.value > issuer.validity.value {
                return Err(table.validity.error(DeclarationProblem::OutlivesIssuer {
                    validity: table.validity.value,
                    issuer: issuer.name.value.clone(),
                    issuer_validity: issuer.validity.value,
                }));
            }
        }
        Ok(())
    }

    /// RFC 5280 §4.2.1.9: how many intermediates may follow in a path.
    fn check_path_lengths(&self) -> Result<(), DeclarationError> {
        for table in self.tables {
            for (depth, above) in self.ancestry(table).enumerate() {
                let Some(limit) = &above.path_length else {
                    continue;
                };
                if depth > usize::from(limit.value) {
                    return Err(limit.error(DeclarationProblem::TooDeep {
                        issuer: above.name.value.clone(),
                        path_length: limit.value,
                        depth,
                        name: table.name.value.clone(),
                    }));
                }
            }
        }
        Ok(())
    }

    /// DPS takes neither an Ed25519 CA nor certificates signed by one.
    fn check_keys_for_dps(
        &self,
        table: &'a AuthorityTable,
        field: &Field<AuthorityName>,
    ) -> Result<(), DeclarationError> {
        let refused =
            |table: &&AuthorityTable| table.key.algorithm() == Some(KeyAlgorithm::Ed25519);
        match self.ancestry(table).find(refused) {
            Some(refused) => Err(field.error(DeclarationProblem::KeyForDps {
                name: refused.name.value.clone(),
                key: KeyAlgorithm::Ed25519,
            })),
            None => Ok(()),
        }
    }

    /// Issuers first; authorities of one depth in the order of the file.
    fn in_order(&self) -> Vec<AuthorityDeclaration> {
        let mut tables: Vec<&AuthorityTable> = self.tables.iter().collect();
        tables.sort_by_key(|table| self.ancestry(table).count());
        let declaration = |table: &AuthorityTable| AuthorityDeclaration {
            name: table.name.value.clone(),
            issuer: table.issuer.as_ref().map(|issuer| issuer.value.clone()),
            subject: table.subject.value.clone(),
            key: table.key.clone(),
            validity: table.validity.value,
            path_length: table.path_length.as_ref().map(|limit| limit.value),
        };
        tables.into_iter().map(declaration).collect()
    }
}

fn profiles(
    tables: &[ProfileTable],
    authorities: &Authorities<'_>,
) -> Result<BTreeMap<ProfileName, LeafProfile>, DeclarationError> {
    let spans = authorities.tables.iter().map(|table| table.validity.value);
    let longest: Option<Span> = spans.max();
    let mut profiles = BTreeMap::new();
    for table in tables {
        if let Some(longest) = longest.filter(|longest| table.validity.value > *longest) {
            return Err(table.validity.error(DeclarationProblem::OutlivesAll {
                validity: table.validity.value,
                longest,
            }));
        }
        let shelf = table.warehouse_time.as_ref();
        if let Some(shelf) = shelf.filter(|shelf| shelf.value > table.validity.value) {
            return Err(
                shelf.invalid("leaves would expire in the warehouse: it is longer than validity")
            );
        }
        let profile = LeafProfile {
            key: table.key.value,
            csr_keys: table.csr_keys.clone(),
            validity: table.validity.value,
            extended_key_usage: table.extended_key_usage.clone(),
            crl_distribution_point: table.crl_distribution_point.clone(),
            warehouse_time: table.warehouse_time.as_ref().map(|span| span.value),
        };
        profiles.insert(table.name.value.clone(), profile);
    }
    Ok(profiles)
}

fn resolve_dps(
    table: DpsTable,
    authorities: &Authorities<'_>,
) -> Result<DpsDeclaration, DeclarationError> {
    let ca_table = format!("dps.{}.ca", table.name.value);
    let ca = resolve_ca(table.ca, authorities)?;
    let groups = Groups {
        authorities,
        ca: &ca,
        ca_table,
    };
    let groups = groups.resolve(table.groups)?;
    let in_azure = table.service.azure_instance().is_some();
    // A token of Entra ID is for Azure; it is not shown to another address unless that was declared.
    let default_sign_in = (in_azure || table.entra.is_some()).then_some(SignIn::Entra);
    let management = management(
        table.management,
        &table.name.value,
        &table.service,
        default_sign_in.clone(),
    )?;
    let (entra, authority_host) = match table.entra {
        Some(entra) => (entra.identity, entra.authority_host),
        None => (EntraIdentity::default(), None),
    };
    Ok(DpsDeclaration {
        hubs: hubs(table.hubs, default_sign_in.as_ref())?,
        sign_in: table.sign_in.or(default_sign_in),
        token_scope: table.token_scope,
        entra,
        authority_host,
        service: table.service,
        device: table.device,
        id_scope: table.id_scope,
        management,
        trust_anchor: table.trust_anchor,
        api_versions: table.api_versions,
        rate: table.rate,
        ca,
        groups,
    })
}

/// The management plane as declared; outside of Azure it is taken to be where the service plane is.
fn management(
    table: Option<ManagementTable>,
    dps: &DpsName,
    service: &Endpoint,
    default_sign_in: Option<SignIn>,
) -> Result<Option<ManagementDeclaration>, DeclarationError> {
    /// What a stand-in for Azure is asked for where nothing is declared: no subscription of anybody.
    const NO_SUBSCRIPTION: &str = "00000000-0000-0000-0000-000000000000";
    let instance = service.azure_instance();
    let Some(table) = table else {
        let stand_in = ManagementDeclaration {
            endpoint: Some(service.clone()),
            token_scope: None,
            subscription: NO_SUBSCRIPTION.to_owned(),
            resource_group: "local".to_owned(),
            name: dps.to_string(),
            sign_in: default_sign_in,
        };
        return Ok(instance.is_none().then_some(stand_in));
    };
    let missing = || {
        table
            .itself
            .error(DeclarationProblem::Missing { key: "name" })
    };
    Ok(Some(ManagementDeclaration {
        name: match table.name {
            Some(name) => name,
            None => instance.ok_or_else(missing)?.to_owned(),
        },
        token_scope: table.token_scope,
        // Leaving the address out means the cloud's own, unless the service plane is elsewhere.
        endpoint: table
            .endpoint
            .or_else(|| instance.is_none().then(|| service.clone())),
        subscription: table.subscription,
        resource_group: table.resource_group,
        sign_in: table.sign_in.or(default_sign_in),
    }))
}

fn hubs(
    tables: Vec<HubTable>,
    default_sign_in: Option<&SignIn>,
) -> Result<BTreeMap<HubHostName, HubDeclaration>, DeclarationError> {
    let mut hubs = Records::default();
    for table in tables {
        let hub = HubDeclaration {
            endpoint: table.endpoint,
            sign_in: table.sign_in.or_else(|| default_sign_in.cloned()),
            token_scope: table.token_scope,
        };
        hubs.insert(table.name, hub)?;
    }
    Ok(hubs.into_map())
}

fn resolve_ca(
    tables: Vec<CaTable>,
    authorities: &Authorities<'_>,
) -> Result<BTreeMap<CertificateName, CaDeclaration>, DeclarationError> {
    let mut cas = Records::default();
    let count = tables.len();
    let mut uploaded: Vec<Field<AuthorityName>> = Vec::new();
    for table in tables {
        let authority = authorities.named(&table.authority)?;
        authorities.check_keys_for_dps(authority, &table.authority)?;
        if let Some(first) = uploaded
            .iter()
            .find(|first| first.value == table.authority.value)
        {
            return Err(table.authority.duplicate(first));
        }
        if cas.len() == MOST_CAS {
            return Err(table.name.error(DeclarationProblem::TooMany {
                what: "CA certificates",
                count,
                most: MOST_CAS,
            }));
        }
        let ca = CaDeclaration {
            authority: table.authority.value.clone(),
            verified_by: table.verified_by,
        };
        uploaded.push(table.authority);
        cas.insert(table.name, ca)?;
    }
    Ok(cas.into_map())
}

/// What the groups of one instance are checked against.
struct Groups<'a> {
    authorities: &'a Authorities<'a>,
    ca: &'a BTreeMap<CertificateName, CaDeclaration>,
    ca_table: String,
}

impl Groups<'_> {
    fn resolve(
        &self,
        tables: Vec<GroupTable>,
    ) -> Result<BTreeMap<EnrollmentGroupId, GroupDeclaration>, DeclarationError> {
        let mut groups = Records::default();
        for table in tables {
            let group = GroupDeclaration {
                attestation: self.attestation(&table)?,
                authority: table.authority.value,
                status: table.status,
                hubs: table.hubs,
                reprovision: table.reprovision,
                allocation: table.allocation,
                initial_twin: table.initial_twin,
            };
            groups.insert(table.id, group)?;
        }
        Ok(groups.into_map())
    }

    /// A root is held by reference, an intermediate as a certificate, unless the group says otherwise.
    fn attestation(&self, table: &GroupTable) -> Result<GroupAttestation, DeclarationError> {
        let authority = self.authorities.named(&table.authority)?;
        self.authorities
            .check_keys_for_dps(authority, &table.authority)?;
        self.check_reaches_ca(authority, &table.authority)?;
        let word = table.attestation.as_ref().map(|field| field.value);
        let word = word.unwrap_or(match authority.issuer {
            Some(_) => AttestationWord::SigningCertificate,
            None => AttestationWord::CaReference,
        });
        if word == AttestationWord::SigningCertificate {
            return Ok(GroupAttestation::SigningCertificate);
        }
        match self.ca_of(authority) {
            Some(name) => Ok(GroupAttestation::CaReference(name.clone())),
            None => Err(table.authority.error(DeclarationProblem::NoCaReference {
                authority: authority.name.value.clone(),
                ca_table: self.ca_table.clone(),
            })),
        }
    }

    /// DPS admits only devices whose chain reaches a CA that it has verified.
    fn check_reaches_ca(
        &self,
        authority: &AuthorityTable,
        field: &Field<AuthorityName>,
    ) -> Result<(), DeclarationError> {
        let mut root = authority;
        for above in self.authorities.ancestry(authority) {
            if self.ca_of(above).is_some() {
                return Ok(());
            }
            root = above;
        }
        Err(field.error(DeclarationProblem::NoCaAbove {
            authority: authority.name.value.clone(),
            ca_table: self.ca_table.clone(),
            root: root.name.value.clone(),
        }))
    }

    fn ca_of(&self, authority: &AuthorityTable) -> Option<&CertificateName> {
        let found = self
            .ca
            .iter()
            .find(|(_, ca)| ca.authority == authority.name.value);
        found.map(|(name, _)| name)
    }
}

/// Records by name, where two spellings of one name are an error.
struct Records<K, V> {
    records: Vec<(Field<K>, V)>,
}

impl<K, V> Default for Records<K, V> {
    fn default() -> Self {
        Self {
            records: Vec::new(),
        }
    }
}

impl<K: Ord, V> Records<K, V> {
    fn len(&self) -> usize {
        self.records.len()
    }

    fn insert(&mut self, name: Field<K>, record: V) -> Result<(), DeclarationError> {
        let same = self
            .records
            .iter()
            .find(|(first, _)| first.value == name.value);
        if let Some((first, _)) = same {
            return Err(name.duplicate(first));
        }
        self.records.push((name, record));
        Ok(())
    }

    fn into_map(self) -> BTreeMap<K, V> {
        let pairs = self.records.into_iter();
        pairs.map(|(name, record)| (name.value, record)).collect()
    }
}
