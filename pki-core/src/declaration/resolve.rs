//! Cross references and limits of `pki.toml`, checked once.

use std::collections::BTreeMap;

use super::dps::{
    CaDeclaration, DpsDeclaration, Endpoint, EntraIdentity, GroupAttestation, GroupDeclaration,
    HubDeclaration, ManagementDeclaration, SignIn, VerifiedBy,
};
use super::error::{DeclarationProblem, nearest};
use super::file::{
    AttestationWord, Authority, CaTable, DpsTable, File, GroupTable, HubTable, ManagementTable,
    ProfileTable,
};
use super::reader::{Fault, Field, Named, Table, Tables};
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
pub(super) fn resolve(file: File) -> Result<Declaration, Fault> {
    let authorities = Authorities::new(&file.authority.0)?;
    authorities.check_lifetimes()?;
    authorities.check_path_lengths()?;
    let profiles = profiles(&file.profile.0, &authorities)?;
    let mut dps = BTreeMap::new();
    for Named { name, table } in file.dps.0 {
        let resolved = resolve_dps(&name.value, table, &authorities)?;
        dps.insert(name.value, resolved);
    }
    Ok(Declaration {
        authorities: authorities.in_order()?,
        profiles,
        backdate: file
            .issuance
            .backdate
            .unwrap_or(Declaration::DEFAULT_BACKDATE),
        dps,
    })
}

/// The declared authorities and who issues whom, known to be free of circles.
struct Authorities<'a> {
    tables: &'a [Authority],
}

impl<'a> Authorities<'a> {
    fn new(tables: &'a [Authority]) -> Result<Self, Fault> {
        let authorities = Self { tables };
        for table in tables {
            table.key()?;
            if let Some(issuer) = &table.issuer {
                authorities.named(issuer)?;
            }
        }
        for table in tables {
            authorities.check_circle(table)?;
        }
        Ok(authorities)
    }

    fn find(&self, name: &AuthorityName) -> Option<&'a Authority> {
        self.tables.iter().find(|table| table.name.value == *name)
    }

    /// The table that a field names, which must be there.
    fn named(&self, field: &Field<AuthorityName>) -> Result<&'a Authority, Fault> {
        self.find(&field.value).ok_or_else(|| {
            let known = || self.tables.iter().map(|table| table.name.value.as_str());
            field.error(DeclarationProblem::UnknownAuthority {
                name: field.value.to_string(),
                nearest: nearest(field.value.as_str(), known()).map(str::to_owned),
                known: known().map(str::to_owned).collect(),
            })
        })
    }

    fn issuer(&self, table: &Authority) -> Option<&'a Authority> {
        self.find(&table.issuer.as_ref()?.value)
    }

    /// The table itself, then its issuer, and so on up to the root.
    fn ancestry(&self, table: &'a Authority) -> impl Iterator<Item = &'a Authority> {
        std::iter::successors(Some(table), |table| self.issuer(table))
    }

    fn check_circle(&self, start: &'a Authority) -> Result<(), Fault> {
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

    fn check_lifetimes(&self) -> Result<(), Fault> {
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
    fn check_path_lengths(&self) -> Result<(), Fault> {
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
        table: &'a Authority,
        field: &Field<AuthorityName>,
    ) -> Result<(), Fault> {
        for above in self.ancestry(table) {
            if above.key()?.algorithm() == Some(KeyAlgorithm::Ed25519) {
                return Err(field.error(DeclarationProblem::KeyForDps {
                    name: above.name.value.clone(),
                    key: KeyAlgorithm::Ed25519,
                }));
            }
        }
        Ok(())
    }

    /// Issuers first; authorities of one depth in the order of the file.
    fn in_order(&self) -> Result<Vec<AuthorityDeclaration>, Fault> {
        let mut tables: Vec<&Authority> = self.tables.iter().collect();
        tables.sort_by_key(|table| self.ancestry(table).count());
        let declaration = |table: &Authority| {
            Ok(AuthorityDeclaration {
                name: table.name.value.clone(),
                issuer: table.issuer.as_ref().map(|issuer| issuer.value.clone()),
                subject: table.subject.clone(),
                key: table.key()?,
                validity: table.validity.value,
                path_length: table.path_length.as_ref().map(|limit| limit.value),
                digital_signature: table.digital_signature,
            })
        };
        tables.into_iter().map(declaration).collect()
    }
}

fn profiles(
    tables: &[Named<ProfileName, ProfileTable>],
    authorities: &Authorities<'_>,
) -> Result<BTreeMap<ProfileName, LeafProfile>, Fault> {
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
            key: table.key,
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
    name: &DpsName,
    table: DpsTable,
    authorities: &Authorities<'_>,
) -> Result<DpsDeclaration, Fault> {
    let ca_table = format!("dps.{name}.ca");
    let sign_in = table.sign_in()?;
    let ca = resolve_ca(table.ca, authorities)?;
    let groups = Groups {
        authorities,
        ca: &ca,
        ca_table,
    };
    let groups = groups.resolve(table.group)?;
    let in_azure = table.service.azure_instance().is_some();
    // A token of Entra ID is for Azure; it is not shown to another address unless that was declared.
    let default_sign_in = (in_azure || table.entra.is_some()).then_some(SignIn::Entra);
    let management = management(
        table.management,
        name,
        &table.service,
        default_sign_in.clone(),
    )?;
    let (entra, authority_host) = match table.entra {
        Some(entra) => entra.sign_in()?,
        None => (EntraIdentity::default(), None),
    };
    Ok(DpsDeclaration {
        hubs: hubs(table.hub, default_sign_in.as_ref())?,
        sign_in: sign_in.or(default_sign_in),
        token_scope: table.token_scope.map(String::from),
        entra,
        authority_host,
        service: table.service,
        device: table.device,
        id_scope: table.id_scope,
        management,
        trust_anchor: table.trust_anchor.map(String::from),
        api_versions: table.api_version.0.into(),
        rate: table.rate,
        ca,
        groups,
    })
}

/// The management plane as declared; outside of Azure it is taken to be where the service plane is.
fn management(
    table: Option<Field<Table<ManagementTable>>>,
    dps: &DpsName,
    service: &Endpoint,
    default_sign_in: Option<SignIn>,
) -> Result<Option<ManagementDeclaration>, Fault> {
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
    let key = "name".to_owned();
    let nameless = table.error(DeclarationProblem::Missing { key });
    let Table(table) = table.value;
    let sign_in = table.token.map(SignIn::Token);
    Ok(Some(ManagementDeclaration {
        name: match table.name {
            Some(name) => name.into(),
            None => instance.ok_or(nameless)?.to_owned(),
        },
        token_scope: table.token_scope.map(String::from),
        // Leaving the address out means the cloud's own, unless the service plane is elsewhere.
        endpoint: table
            .endpoint
            .or_else(|| instance.is_none().then(|| service.clone())),
        subscription: table.subscription.into(),
        resource_group: table.resource_group.into(),
        sign_in: sign_in.or(default_sign_in),
    }))
}

fn hubs(
    tables: Tables<HubHostName, HubTable>,
    default_sign_in: Option<&SignIn>,
) -> Result<BTreeMap<HubHostName, HubDeclaration>, Fault> {
    let mut hubs = Records::default();
    for Named { name, table } in tables.0 {
        let hub = HubDeclaration {
            sign_in: table.sign_in()?.or_else(|| default_sign_in.cloned()),
            endpoint: table.endpoint,
            token_scope: table.token_scope.map(String::from),
        };
        hubs.insert(name, hub)?;
    }
    Ok(hubs.into_map())
}

fn resolve_ca(
    tables: Tables<CertificateName, CaTable>,
    authorities: &Authorities<'_>,
) -> Result<BTreeMap<CertificateName, CaDeclaration>, Fault> {
    let mut cas = Records::default();
    let count = tables.0.len();
    let mut uploaded: Vec<Field<AuthorityName>> = Vec::new();
    for Named { name, table } in tables.0 {
        let named = match table.authority {
            Some(authority) => authority,
            None => name.reparsed()?,
        };
        let authority = authorities.named(&named)?;
        authorities.check_keys_for_dps(authority, &named)?;
        if let Some(first) = uploaded.iter().find(|first| first.value == named.value) {
            return Err(named.duplicate(first));
        }
        if cas.len() == MOST_CAS {
            return Err(name.error(DeclarationProblem::TooMany {
                what: "CA certificates",
                count,
                most: MOST_CAS,
            }));
        }
        let ca = CaDeclaration {
            authority: named.value.clone(),
            verified_by: table
                .verified_by
                .map_or(VerifiedBy::Possession, |word| word.0),
        };
        uploaded.push(named);
        cas.insert(name, ca)?;
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
        tables: Tables<EnrollmentGroupId, GroupTable>,
    ) -> Result<BTreeMap<EnrollmentGroupId, GroupDeclaration>, Fault> {
        let mut groups = Records::default();
        for Named { name, table } in tables.0 {
            let group = GroupDeclaration {
                attestation: self.attestation(&table)?,
                status: table.status(),
                hubs: table.hubs()?,
                reprovision: table.reprovision(),
                allocation: table.allocation(),
                authority: table.authority.value,
                initial_twin: table.initial_twin.map(|twin| twin.0.into()),
            };
            groups.insert(name, group)?;
        }
        Ok(groups.into_map())
    }

    /// A root is held by reference, an intermediate as a certificate, unless the group says otherwise.
    fn attestation(&self, table: &GroupTable) -> Result<GroupAttestation, Fault> {
        let authority = self.authorities.named(&table.authority)?;
        self.authorities
            .check_keys_for_dps(authority, &table.authority)?;
        self.check_reaches_ca(authority, &table.authority)?;
        let word = table
            .attestation
            .map(|word| word.0)
            .unwrap_or(match authority.issuer {
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
        authority: &Authority,
        field: &Field<AuthorityName>,
    ) -> Result<(), Fault> {
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

    fn ca_of(&self, authority: &Authority) -> Option<&CertificateName> {
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

    fn insert(&mut self, name: Field<K>, record: V) -> Result<(), Fault> {
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
        self.records
            .into_iter()
            .map(|(name, record)| (name.value, record))
            .collect()
    }
}
