//! What OpenSSL found of one leaf, said again of the next one like it.
//!
//! A line of devices has leaves that differ in serial number, common name, dates, key, and signature, and
//! in nothing else. Of these OpenSSL's verdict depends on the signature and on the dates, which are
//! checked anew here, by the signature check that links a chain too. Everything else is compared byte by
//! byte, with a leaf for which OpenSSL found that its path holds. Only that is ever said again: whatever
//! is not covered is for OpenSSL, and so is every no.
//! Invariant: what a precedent covers, [`validate`](super::validate) lets pass as well.

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ParsedPublicKey, VerificationAlgorithm,
};
use const_oid::ObjectIdentifier;
use const_oid::db::rfc4519::COMMON_NAME;
use const_oid::db::rfc5280::{ID_CE_NAME_CONSTRAINTS, ID_CE_SUBJECT_KEY_IDENTIFIER};
use const_oid::db::rfc5912::{ID_EC_PUBLIC_KEY, SECP_256_R_1, SECP_384_R_1};
use der::asn1::AnyRef;
use der::{Decode as _, Encode as _, Reader as _, SliceReader, Tag, TagNumber, Tagged as _};
use spki::AlgorithmIdentifierRef;

use super::{PathOptions, PathReport};
use crate::certificate::Certificate;
use crate::time::Time;

/// What leaves of one kind have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeafPattern([u8; 32]);

/// A path that holds, for every leaf of one pattern that its issuer signed: as long as the same
/// certificates are at hand above the leaf, none of them begins or ends to be valid, and the question is
/// the same but for its time.
#[derive(Debug, Clone)]
pub struct Precedent {
    pattern: LeafPattern,
    /// As SubjectPublicKeyInfo DER.
    issuer_key: Vec<u8>,
}

impl LeafPattern {
    /// The pattern of a leaf, or `None` if there is more about it that is its own than plain leaves have.
    pub fn of(leaf: &Certificate) -> Option<Self> {
        let mut pattern = Pattern(Context::new(&SHA256));
        pattern.certificate(leaf.der())?;
        let mut octets = [0; 32];
        octets.copy_from_slice(pattern.0.finish().as_ref());
        Some(Self(octets))
    }
}

impl Precedent {
    /// What follows for leaves like this one from the answer that its path holds. `None` if nothing does:
    /// it does not hold, or depends on what a pattern leaves out (names that authorities allow, revocation
    /// lists, the strength of keys, rules of form).
    pub fn new(
        leaf: &Certificate,
        intermediates: &[Certificate],
        anchors: &[Certificate],
        options: PathOptions<'_>,
        report: &PathReport,
    ) -> Option<Self> {
        if !report.holds() || !options.leaves_only_signature_and_dates() {
            return None;
        }
        let above = report.path.get(1..)?.iter().map(|step| {
            let mut known = intermediates.iter().chain(anchors);
            known.find(|known| known.sha256_thumbprint() == step.sha256_thumbprint)
        });
        let above: Vec<&Certificate> = above.collect::<Option<_>>()?;
        if above.iter().any(|authority| constrains_names(authority)) {
            return None;
        }
        Some(Self {
            pattern: LeafPattern::of(leaf)?,
            issuer_key: above.first()?.public_key(),
        })
    }

    /// Whether this leaf's path holds for the same reasons. `pattern` is the leaf's.
    pub fn covers(&self, leaf: &Certificate, pattern: LeafPattern, at: Time) -> bool {
        // The first and the last second are for `validate`, which asks OpenSSL for another moment there.
        let validity = leaf.validity();
        let is_within = validity.not_before() < at && at < validity.not_after();
        pattern == self.pattern && is_within && leaf.verify_signature(&self.issuer_key).is_ok()
    }
}

fn constrains_names(authority: &Certificate) -> bool {
    let extensions = authority.parsed().tbs_certificate().extensions();
    let mut extensions = extensions.into_iter().flatten();
    extensions.any(|extension| extension.extn_id == ID_CE_NAME_CONSTRAINTS)
}

/// Takes in what belongs to a pattern. Every element is taken in with its tag and its length, so that no
/// two certificates with different elements are taken in as the same bytes.
struct Pattern(Context);

impl Pattern {
    /// RFC 5280 §4.1.
    fn certificate(&mut self, der: &[u8]) -> Option<()> {
        let mut parts = sequence(AnyRef::from_der(der).ok()?)?;
        self.leaf(sequence(next(&mut parts)?)?)?;
        self.take(parts.tlv_bytes().ok()?);
        octets(next(&mut parts)?)?;
        parts.is_finished().then_some(())
    }

    /// §4.1.2. Unique identifiers are nothing that a plain leaf has.
    fn leaf(&mut self, mut fields: SliceReader<'_>) -> Option<()> {
        self.take(fields.tlv_bytes().ok()?);
        next(&mut fields)?.tag().assert_eq(Tag::Integer).ok()?;
        self.take(fields.tlv_bytes().ok()?);
        let issuer = next(&mut fields)?;
        self.any(issuer)?;
        self.validity(next(&mut fields)?)?;
        self.subject(next(&mut fields)?, issuer)?;
        self.public_key(next(&mut fields)?)?;
        self.extensions(next(&mut fields)?)?;
        fields.is_finished().then_some(())
    }

    /// The dates themselves are checked each time.
    fn validity(&mut self, validity: AnyRef<'_>) -> Option<()> {
        let mut dates = sequence(validity)?;
        for _ in 0..2 {
            let date = next(&mut dates)?;
            self.head(date)?;
        }
        dates.is_finished().then_some(())
    }

    /// All of the subject but its one common name, which is of the letters of a registration ID, and not
    /// the issuer's: that would make the leaf one that issued itself.
    fn subject(&mut self, subject: AnyRef<'_>, issuer: AnyRef<'_>) -> Option<()> {
        let own = Names::read(subject)?;
        let [name] = own.common_names[..] else {
            return None;
        };
        let text = str::from_utf8(name.value()).ok()?;
        if !is_plain(text) {
            return None;
        }
        for other in Names::read(issuer)?.common_names {
            let other = str::from_utf8(other.value()).ok()?;
            if other.trim().eq_ignore_ascii_case(text) {
                return None;
            }
        }
        self.head(name)?;
        self.length(own.place);
        self.length(own.others.len());
        for part in own.others {
            self.any(part)?;
        }
        Some(())
    }

    /// The algorithm with its curve. OpenSSL refuses points that are not on it, so the key must be one
    /// that is, written with both coordinates.
    fn public_key(&mut self, key: AnyRef<'_>) -> Option<()> {
        let mut parts = sequence(key)?;
        let algorithm = parts.tlv_bytes().ok()?;
        let point = octets(next(&mut parts)?)?;
        parts.is_finished().then_some(())?;
        self.take(algorithm);
        let curve = curve(&AlgorithmIdentifierRef::from_der(algorithm).ok()?)?;
        (point.first() == Some(&4)).then_some(())?;
        ParsedPublicKey::new(curve, point).ok()?;
        Some(())
    }

    /// All extensions, but of the subject key identifier only its length.
    fn extensions(&mut self, tagged: AnyRef<'_>) -> Option<()> {
        let tag = Tag::ContextSpecific {
            constructed: true,
            number: TagNumber(3),
        };
        tagged.tag().assert_eq(tag).ok()?;
        let mut extensions = sequence(AnyRef::from_der(tagged.value()).ok()?)?;
        while !extensions.is_finished() {
            let extension = next(&mut extensions)?;
            let mut parts = sequence(extension)?;
            let name = ObjectIdentifier::decode(&mut parts).ok()?;
            if name != ID_CE_SUBJECT_KEY_IDENTIFIER {
                self.any(extension)?;
                continue;
            }
            self.take(b"ski");
            let value = next(&mut parts)?;
            value.tag().assert_eq(Tag::OctetString).ok()?;
            let identifier = AnyRef::from_der(value.value()).ok()?;
            self.head(identifier)?;
            self.length(identifier.value().len());
            identifier.tag().assert_eq(Tag::OctetString).ok()?;
            parts.is_finished().then_some(())?;
        }
        // No extension begins like this.
        self.take(&[0]);
        Some(())
    }

    fn any(&mut self, element: AnyRef<'_>) -> Option<()> {
        self.head(element)?;
        self.length(element.value().len());
        self.take(element.value());
        Some(())
    }

    fn head(&mut self, element: AnyRef<'_>) -> Option<()> {
        self.take(&element.tag().to_der().ok()?);
        Some(())
    }

    fn length(&mut self, length: usize) {
        self.take(&u64::try_from(length).unwrap_or(u64::MAX).to_be_bytes());
    }

    fn take(&mut self, octets: &[u8]) {
        self.0.update(octets);
    }
}

/// A name whose parts are one attribute each.
struct Names<'a> {
    common_names: Vec<AnyRef<'a>>,
    /// How many others stand before the last common name.
    place: usize,
    others: Vec<AnyRef<'a>>,
}

impl<'a> Names<'a> {
    /// `None` if an attribute is not alone in its place, or a common name is of a kind whose octets are
    /// not its letters.
    fn read(name: AnyRef<'a>) -> Option<Self> {
        let mut names = Self {
            common_names: Vec::new(),
            place: 0,
            others: Vec::new(),
        };
        let mut parts = sequence(name)?;
        while !parts.is_finished() {
            let part = next(&mut parts)?;
            part.tag().assert_eq(Tag::Set).ok()?;
            let mut attribute = sequence(AnyRef::from_der(part.value()).ok()?)?;
            let kind = ObjectIdentifier::decode(&mut attribute).ok()?;
            if kind != COMMON_NAME {
                names.others.push(part);
                continue;
            }
            let value = next(&mut attribute)?;
            if !matches!(value.tag(), Tag::Utf8String | Tag::PrintableString) {
                return None;
            }
            attribute.is_finished().then_some(())?;
            names.place = names.others.len();
            names.common_names.push(value);
        }
        Some(names)
    }
}

/// The curve of a key, by the algorithm that reads its points.
fn curve(algorithm: &AlgorithmIdentifierRef<'_>) -> Option<&'static dyn VerificationAlgorithm> {
    if algorithm.oid != ID_EC_PUBLIC_KEY {
        return None;
    }
    match algorithm.parameters_oid().ok()? {
        SECP_256_R_1 => Some(&ECDSA_P256_SHA256_ASN1),
        SECP_384_R_1 => Some(&ECDSA_P384_SHA384_ASN1),
        _ => None,
    }
}

/// What a bit string of whole octets holds.
fn octets(bits: AnyRef<'_>) -> Option<&[u8]> {
    bits.tag().assert_eq(Tag::BitString).ok()?;
    bits.value().strip_prefix(&[0])
}

/// Whether a common name is of letters, digits, `-`, `.`, `_` and `:`, and no longer than RFC 5280 has it.
fn is_plain(name: &str) -> bool {
    const LONGEST: usize = 64;
    let is_letter = |octet: u8| octet.is_ascii_alphanumeric() || b"-._:".contains(&octet);
    (1..=LONGEST).contains(&name.len()) && name.bytes().all(is_letter)
}

fn sequence(element: AnyRef<'_>) -> Option<SliceReader<'_>> {
    element.tag().assert_eq(Tag::Sequence).ok()?;
    SliceReader::new(element.value()).ok()
}

fn next<'a>(reader: &mut SliceReader<'a>) -> Option<AnyRef<'a>> {
    AnyRef::decode(reader).ok()
}
