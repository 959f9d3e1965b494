//! Which device is meant: by certificate, thumbprint, serial number or registration ID.
//!
//! The registration ID is taken from the certificate wherever one is at hand: an entry under another ID
//! shuts nobody out.

use pki_core::certificate::Certificate;
use pki_core::ids::{IdError, RegistrationId, SerialNumber, Sha1Thumbprint, Sha256Thumbprint};
use pki_core::inventory::{Inventory, InventoryEntry, InventoryError, Status};
use pki_core::name::DistinguishedName;
use pki_core::profile::Role;
use pki_core::time::Time;

/// A device that is meant, and its leaf if it is at hand.
#[derive(Debug, Clone)]
pub struct Target {
    /// The device.
    pub id: RegistrationId,
    /// Its leaf.
    pub leaf: Option<Certificate>,
    /// The leaf's record, if the inventory has it.
    pub entry: Option<InventoryEntry>,
}

/// Why nobody knows which device is meant.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// A CA's certificate was named.
    #[error("{subject} is a CA, not a device")]
    Ca {
        /// Its subject.
        subject: DistinguishedName,
    },
    /// The certificate names no device.
    #[error("the subject {subject} has no single CN to be the registration ID")]
    NoName {
        /// Its subject.
        subject: DistinguishedName,
    },
    /// A serial number is unique for its issuer only.
    #[error(
        "{count} certificates of different issuers have the serial number {serial}; name the thumbprint"
    )]
    SeveralIssuers {
        /// How many.
        count: usize,
        /// The number.
        serial: SerialNumber,
    },
    /// The name is no registration ID.
    #[error(transparent)]
    Id(#[from] IdError),
    /// The inventory cannot be read.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
}

impl Target {
    /// A device of which no leaf is at hand.
    pub fn without_leaf(id: RegistrationId) -> Self {
        Self {
            id,
            leaf: None,
            entry: None,
        }
    }

    /// The device of a certificate, whether the inventory has that or not.
    ///
    /// # Errors
    /// [`TargetError`]: it names no device, or the inventory cannot be read.
    pub fn of_certificate(
        inventory: &dyn Inventory,
        leaf: Certificate,
    ) -> Result<Self, TargetError> {
        let entry = inventory.by_sha256_thumbprint(&leaf.sha256_thumbprint())?;
        Self::of_leaf(leaf, entry)
    }

    /// The device of a thumbprint, a serial number or a registration ID. Its leaf is the newest valid one;
    /// where all are revoked the newest of those, since DPS reads no CRL.
    ///
    /// # Errors
    /// [`TargetError`]: the name is none, or the inventory cannot be read.
    pub fn named(inventory: &dyn Inventory, name: &str, at: Time) -> Result<Self, TargetError> {
        if let Some(entry) = by_identity(inventory, name)? {
            return Self::of_leaf(entry.recorded.certificate().clone(), Some(entry));
        }
        let id: RegistrationId = name.parse()?;
        match newest_leaf(inventory, &id, at)? {
            Some(entry) => Self::of_leaf(entry.recorded.certificate().clone(), Some(entry)),
            None => Ok(Self::without_leaf(id)),
        }
    }

    fn of_leaf(leaf: Certificate, entry: Option<InventoryEntry>) -> Result<Self, TargetError> {
        let subject = leaf.subject();
        if leaf.is_ca() {
            return Err(TargetError::Ca { subject });
        }
        let Some(name) = leaf.common_name() else {
            return Err(TargetError::NoName { subject });
        };
        Ok(Self {
            id: name.parse()?,
            leaf: Some(leaf),
            entry,
        })
    }
}

/// A device's newest valid leaf; where all are revoked the newest of those.
pub(crate) fn newest_leaf(
    inventory: &dyn Inventory,
    id: &RegistrationId,
    at: Time,
) -> Result<Option<InventoryEntry>, InventoryError> {
    let live = inventory.live_leaves(id, at)?.into_iter().next();
    if live.is_some() {
        return Ok(live);
    }
    let is_revoked = |entry: &InventoryEntry| {
        entry.recorded.role() == Role::Leaf
            && entry.state.status() == Status::Revoked
            && entry.recorded.certificate().validity().not_after() >= at
    };
    let known = inventory.certificates_of(id)?;
    Ok(known.into_iter().find(is_revoked))
}

fn by_identity(
    inventory: &dyn Inventory,
    name: &str,
) -> Result<Option<InventoryEntry>, TargetError> {
    if let Ok(thumbprint) = name.parse::<Sha256Thumbprint>() {
        return Ok(inventory.by_sha256_thumbprint(&thumbprint)?);
    }
    // A serial number of 20 octets looks the same.
    if let Ok(thumbprint) = name.parse::<Sha1Thumbprint>() {
        let found = inventory.by_sha1_thumbprint(&thumbprint)?;
        if let Some(entry) = found.into_iter().next() {
            return Ok(Some(entry));
        }
    }
    let Ok(serial) = name.parse::<SerialNumber>() else {
        return Ok(None);
    };
    let mut found = inventory.by_serial_number(&serial)?;
    match found.len() {
        0 | 1 => Ok(found.pop()),
        count => Err(TargetError::SeveralIssuers { count, serial }),
    }
}
