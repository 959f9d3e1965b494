//! Leaves in bulk: what [`compose`] makes, made once per shape and patched for each device.
//!
//! Leaves of one authority, profile and moment differ in four places: serial number, CN, public key
//! and subject key identifier. A [`Stencil`] is a composed and linted leaf with the offsets of these;
//! one is made for each length of CN and key. Nothing is encoded here: the bytes around the patches
//! come from the ordinary path, and a property test holds both byte for byte equal.
//! Invariant: the fixed part was linted once, each patch's variable part every time.

use std::ops::Range;
use std::sync::Arc;

use aws_lc_rs::digest::Digest;
use const_oid::db::rfc5912::ID_EC_PUBLIC_KEY;
use der::Decode as _;
use spki::SubjectPublicKeyInfoRef;

use super::{ComposeError, Finding, IssueError, Issuer, LintError, Linted, Request, compose};
use crate::ids::{LeafName, SerialNumber};
use crate::lint::public_key_problem;
use crate::profile::{LeafContent, Role, key_identifier_of};
use crate::time::{Time, Validity};

/// Stamps leaves of one authority, profile and validity.
#[derive(Clone)]
pub struct LeafPress {
    issuer: Arc<Issuer>,
    validity: Validity,
    content: LeafContent,
    now: Time,
    /// A batch has few shapes, and most have one.
    stencils: Vec<(Shape, Stencil)>,
}

/// What decides where the patches are.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Shape {
    serial_number: usize,
    common_name: usize,
    public_key: usize,
}

/// A leaf to patch.
#[derive(Clone)]
struct Stencil {
    tbs_der: Vec<u8>,
    serial_number: Range<usize>,
    common_name: Range<usize>,
    public_key: Range<usize>,
    key_identifier: Range<usize>,
    /// What the checks found worth saying: of what all leaves of the press have in common.
    warnings: Vec<Finding>,
    /// What stands before the coordinates of its elliptic key; any other key is decoded anew.
    elliptic: Option<EllipticHead>,
}

/// Two keys of one length that begin with this are on the same curve and of the same form: they differ
/// in their coordinates alone, which nothing is checked of.
#[derive(Clone)]
struct EllipticHead {
    /// SubjectPublicKeyInfo up to the coordinates of the point.
    octets: Vec<u8>,
    /// Where the point begins within the key: one octet says its form (RFC 5480 §2.2).
    point: usize,
}

impl LeafPress {
    /// A press for leaves of `issuer` that are all valid for the same time.
    pub fn new(
        issuer: Issuer,
        validity: Validity,
        content: impl Into<LeafContent>,
        now: Time,
    ) -> Self {
        let stencils = Vec::new();
        Self {
            issuer: Arc::new(issuer),
            validity,
            content: content.into(),
            now,
            stencils,
        }
    }

    /// The leaf of a device, checked and ready to be signed. `public_key` is SubjectPublicKeyInfo DER.
    ///
    /// # Errors
    /// [`IssueError`]: what [`compose`] and the checks would refuse.
    pub fn stamp(
        &mut self,
        id: &LeafName,
        public_key: &[u8],
        serial_number: &SerialNumber,
    ) -> Result<Linted, IssueError> {
        let name = id.as_str().as_bytes();
        let serial = serial_number.as_be_octets();
        let place = self.stencil(id, public_key, serial_number)?;
        let stencil = &self.stencils[place].1;
        let key_identifier = match &stencil.elliptic {
            Some(head) if public_key.starts_with(&head.octets) => {
                key_identifier_of(&public_key[head.point..])
            }
            _ => self.check_public_key(public_key)?,
        };
        // All parts have the lengths of the stencil's, so that no DER length around them changes.
        let mut tbs_der = stencil.tbs_der.clone();
        tbs_der[stencil.serial_number.clone()].copy_from_slice(serial);
        tbs_der[stencil.common_name.clone()].copy_from_slice(name);
        tbs_der[stencil.public_key.clone()].copy_from_slice(public_key);
        tbs_der[stencil.key_identifier.clone()].copy_from_slice(key_identifier.as_ref());
        Ok(Linted {
            role: Role::Leaf,
            leaf_name: Some(id.clone()),
            serial_number: serial_number.clone(),
            validity: self.validity,
            issuer: Arc::clone(&self.issuer),
            tbs_der,
            warnings: stencil.warnings.clone(),
        })
    }

    /// Checks a key by itself, and returns its identifier.
    fn check_public_key(&self, public_key: &[u8]) -> Result<Digest, IssueError> {
        let spki =
            SubjectPublicKeyInfoRef::from_der(public_key).map_err(ComposeError::PublicKey)?;
        match public_key_problem(&spki) {
            None => Ok(key_identifier_of(spki.subject_public_key.raw_bytes())),
            Some(finding) => {
                let authority = self.issuer.name.clone();
                let role = Role::Leaf.as_str();
                Err(LintError {
                    authority,
                    role,
                    findings: vec![finding],
                }
                .into())
            }
        }
    }

    /// The place of the stencil for a leaf, which is cut if there is none.
    fn stencil(
        &mut self,
        id: &LeafName,
        public_key: &[u8],
        serial_number: &SerialNumber,
    ) -> Result<usize, IssueError> {
        let shape = Shape {
            serial_number: serial_number.as_be_octets().len(),
            common_name: id.as_str().len(),
            public_key: public_key.len(),
        };
        if let Some(place) = self.stencils.iter().position(|(of, _)| *of == shape) {
            return Ok(place);
        }
        let stencil = self.cut(id, public_key, serial_number)?;
        self.stencils.push((shape, stencil));
        Ok(self.stencils.len() - 1)
    }

    /// Makes a stencil of the first leaf of its shape, by the ordinary path.
    fn cut(
        &self,
        id: &LeafName,
        public_key: &[u8],
        serial_number: &SerialNumber,
    ) -> Result<Stencil, IssueError> {
        let content = self.content.clone();
        let request = Request::leaf(id, public_key.to_vec(), self.validity, content)?;
        let linted = compose(&request, &self.issuer, serial_number)?.lint(self.now)?;
        let warnings = linted.warnings;
        let stencil = Stencil::of(linted.tbs_der, warnings, id, public_key, serial_number);
        Ok(stencil?.ok_or_else(no_such_shape)?)
    }
}

/// The parts of a leaf are not where RFC 5280 puts them; cannot happen with what [`compose`] makes.
fn no_such_shape() -> ComposeError {
    ComposeError::Encoding(der::ErrorKind::Failed.into())
}

impl Stencil {
    /// Finds the four parts: serial number first, the CN right before the public key (§4.1), the key
    /// identifier last.
    fn of(
        tbs_der: Vec<u8>,
        warnings: Vec<Finding>,
        id: &LeafName,
        public_key: &[u8],
        serial_number: &SerialNumber,
    ) -> Result<Option<Self>, ComposeError> {
        let name = id.as_str().as_bytes();
        let spki =
            SubjectPublicKeyInfoRef::from_der(public_key).map_err(ComposeError::PublicKey)?;
        let identifier = key_identifier_of(spki.subject_public_key.raw_bytes());
        let elliptic = EllipticHead::of(&spki, public_key);
        let find = || {
            let serial_number = first(&tbs_der, 0, serial_number.as_be_octets())?;
            let public_key = first(&tbs_der, serial_number.end, public_key)?;
            // From the key backwards: the issuer's name may hold the same text.
            let common_name = public_key.start.checked_sub(name.len())?..public_key.start;
            let key_identifier = first(&tbs_der, public_key.end, identifier.as_ref())?;
            let names_it = tbs_der.get(common_name.clone()) == Some(name);
            names_it.then_some((serial_number, common_name, public_key, key_identifier))
        };
        Ok(find().map(
            |(serial_number, common_name, public_key, key_identifier)| Self {
                tbs_der: tbs_der.clone(),
                serial_number,
                common_name,
                public_key,
                key_identifier,
                warnings,
                elliptic,
            },
        ))
    }
}

impl EllipticHead {
    /// The head of a key, if it is elliptic.
    fn of(spki: &SubjectPublicKeyInfoRef<'_>, encoded: &[u8]) -> Option<Self> {
        if spki.algorithm.oid != ID_EC_PUBLIC_KEY {
            return None;
        }
        let point = encoded
            .len()
            .checked_sub(spki.subject_public_key.raw_bytes().len())?;
        let octets = encoded.get(..=point)?.to_vec();
        Some(Self { octets, point })
    }
}

/// Where `part` first stands at or after an offset.
fn first(whole: &[u8], from: usize, part: &[u8]) -> Option<Range<usize>> {
    let rest = whole.get(from..)?;
    let start = from + rest.windows(part.len()).position(|window| window == part)?;
    Some(start..start + part.len())
}
