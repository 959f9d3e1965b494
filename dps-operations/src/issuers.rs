//! Who stands above a certificate: from the inventory, which records who signed what.

use pki_core::authority::ChainBundle;
use pki_core::certificate::Certificate;
use pki_core::ids::AuthorityName;
use pki_core::inventory::{
    AuthorityRecord, Filter, GenerationRecord, Inventory, InventoryError, Recorded, Status,
    recorded_issuers,
};
use pki_core::profile::Role;

/// A generation that issues has no certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the inventory holds no certificate of authority {authority}")]
pub struct NoCertificate {
    /// Whose generation.
    pub authority: AuthorityName,
}

/// The certificate of a generation that has one, as every current one does.
///
/// # Errors
/// [`NoCertificate`] if it has none.
pub fn certificate_of(
    name: &AuthorityName,
    record: &GenerationRecord,
) -> Result<Certificate, NoCertificate> {
    match &record.certificate {
        Some(recorded) => Ok(recorded.certificate().clone()),
        None => Err(NoCertificate {
            authority: name.clone(),
        }),
    }
}

/// The certificates above one of ours, up to the root. Who signed what here is recorded; what was
/// signed elsewhere is held against the certificates at hand.
///
/// # Errors
/// [`InventoryError`] if the inventory cannot be read.
pub fn issuers(
    inventory: &dyn Inventory,
    certificate: &Certificate,
) -> Result<Vec<Certificate>, InventoryError> {
    issuers_among(inventory, &inventory.authorities()?, certificate)
}

/// As [`issuers`], for whoever has read the authorities already.
///
/// # Errors
/// As [`issuers`].
pub fn issuers_among(
    inventory: &dyn Inventory,
    authorities: &[AuthorityRecord],
    certificate: &Certificate,
) -> Result<Vec<Certificate>, InventoryError> {
    let recorded = recorded_issuers(authorities, certificate);
    let last = recorded.last().copied().unwrap_or(certificate);
    let mut above: Vec<Certificate> = recorded.iter().copied().cloned().collect();
    if !last.is_self_issued() {
        let bundle = ChainBundle::build(last, &authority_certificates(inventory)?);
        above.extend(bundle.certificates().iter().skip(1).cloned());
    }
    Ok(above)
}

/// The certificates of our authorities, and of those outside that signed one of them.
///
/// # Errors
/// [`InventoryError`] if the inventory cannot be read.
pub fn authority_certificates(
    inventory: &dyn Inventory,
) -> Result<Vec<Certificate>, InventoryError> {
    let authorities = inventory.authorities()?;
    let generations = authorities
        .iter()
        .flat_map(|authority| &authority.generations);
    let recorded = generations.filter_map(|generation| generation.certificate.as_ref());
    let recorded: Vec<&Recorded> = recorded.collect();
    let mut found: Vec<Certificate> = recorded
        .iter()
        .map(|recorded| recorded.certificate())
        .cloned()
        .collect();
    // Only an authority that was signed elsewhere has issuers that are none of ours.
    let is_ours = |recorded: &&Recorded| {
        let certificate = recorded.certificate();
        recorded.signed_by().is_some()
            || certificate.is_self_issued()
            || found.iter().any(|issuer| certificate.is_issued_by(issuer))
    };
    if !recorded.iter().all(is_ours) {
        for role in [Role::Root, Role::Intermediate] {
            found.extend(of_role(inventory, role)?);
        }
    }
    Ok(found)
}

fn of_role(inventory: &dyn Inventory, role: Role) -> Result<Vec<Certificate>, InventoryError> {
    /// More authorities than any home has.
    const MOST: usize = 10_000;
    let filter = Filter {
        role: Some(role),
        status: Some(Status::Delivered),
        ..Filter::default()
    };
    let page = inventory.list(&filter, None, MOST)?;
    Ok(page
        .entries
        .iter()
        .map(|entry| entry.recorded.certificate().clone())
        .collect())
}
