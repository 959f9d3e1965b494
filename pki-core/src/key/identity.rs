//! Which key it is, however it is written down.
//!
//! One key has several encodings: a point with its second coordinate or without (SEC 1 §2.3.3), RSA with
//! parameters of NULL or none. What was found out about a key must hold for all of them.

use aws_lc_rs::digest::{Context, SHA256};
use const_oid::db::rfc5912::{ID_EC_PUBLIC_KEY, RSA_ENCRYPTION};
use der::asn1::{AnyRef, UintRef};
use der::{Decode as _, Header, Reader as _, SliceReader, Tag, Tagged as _};
use spki::SubjectPublicKeyInfoRef;

/// What two public keys have in common exactly if whoever holds the private key of one has that of the
/// other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyIdentity([u8; 32]);

impl KeyIdentity {
    /// Of a public key as SubjectPublicKeyInfo DER.
    pub fn of(public_key: &[u8]) -> Self {
        let parts = SubjectPublicKeyInfoRef::from_der(public_key).ok();
        let known = parts.as_ref().and_then(Self::of_known);
        known.unwrap_or_else(|| Self::digest(&[b"other", public_key]))
    }

    /// Of the public key in a certificate in DER, of which nothing else is looked at.
    pub(crate) fn in_certificate(der: &[u8]) -> Option<Self> {
        let mut reader = SliceReader::new(der).ok()?;
        // Certificate, then TBSCertificate (RFC 5280 §4.1).
        for _ in 0..2 {
            let header = Header::decode(&mut reader).ok()?;
            header.tag().assert_eq(Tag::Sequence).ok()?;
        }
        let mut field = AnyRef::decode(&mut reader).ok()?;
        if field.tag().is_context_specific() {
            field = AnyRef::decode(&mut reader).ok()?;
        }
        field.tag().assert_eq(Tag::Integer).ok()?;
        // The algorithm, the issuer, the validity and the subject come before the key.
        for _ in 0..4 {
            reader.tlv_bytes().ok()?;
        }
        Some(Self::of(reader.tlv_bytes().ok()?))
    }

    fn of_known(key: &SubjectPublicKeyInfoRef<'_>) -> Option<Self> {
        let octets = key.subject_public_key.raw_bytes();
        match key.algorithm.oid {
            ID_EC_PUBLIC_KEY => {
                let curve = key.algorithm.parameters_oid().ok()?;
                // The private key of a point's negative, which has the same first coordinate, follows
                // from that of the point.
                Some(Self::digest(&[curve.as_bytes(), first_coordinate(octets)?]))
            }
            RSA_ENCRYPTION => Some(Self::digest(&[b"RSA", modulus(octets)?])),
            _ => None,
        }
    }

    fn digest(parts: &[&[u8]]) -> Self {
        let mut context = Context::new(&SHA256);
        for part in parts {
            context.update(part);
        }
        let mut octets = [0; 32];
        octets.copy_from_slice(context.finish().as_ref());
        Self(octets)
    }

    /// Its first half, which tells it from all others that anybody meets.
    pub fn beginning(&self) -> u128 {
        let (halves, _) = self.0.as_chunks();
        halves.first().copied().map_or(0, u128::from_be_bytes)
    }

    #[cfg(feature = "sqlite")]
    pub(crate) fn as_octets(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The first coordinate of a point in any of its forms.
fn first_coordinate(point: &[u8]) -> Option<&[u8]> {
    let (form, coordinates) = point.split_first()?;
    match form {
        2 | 3 => Some(coordinates),
        4 | 6 | 7 => coordinates.get(..coordinates.len() / 2),
        _ => None,
    }
}

fn modulus(public_key: &[u8]) -> Option<&[u8]> {
    let mut reader = SliceReader::new(public_key).ok()?;
    let header = Header::decode(&mut reader).ok()?;
    header.tag().assert_eq(Tag::Sequence).ok()?;
    let modulus = UintRef::decode(&mut reader).ok()?;
    Some(modulus.as_bytes())
}

#[cfg(test)]
mod tests {
    use openssl::bn::BigNumContext;
    use openssl::ec::{EcGroup, EcKey, PointConversionForm};
    use openssl::nid::Nid;
    use openssl::pkey::PKey;
    use openssl::rsa::Rsa;

    use super::*;

    /// A SubjectPublicKeyInfo with another key, or without parameters.
    fn spki(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
        let block = |tag: u8, content: &[u8]| {
            let length = u16::try_from(content.len()).expect("short").to_be_bytes();
            [&[tag, 0x82], &length[..], content].concat()
        };
        let content = [algorithm.to_vec(), block(3, &[&[0], key].concat())].concat();
        block(0x30, &content)
    }

    #[test]
    fn a_point_is_the_same_in_every_form() {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("curve");
        let key = EcKey::generate(&group).expect("key");
        let mut context = BigNumContext::new().expect("context");
        let usual = PKey::from_ec_key(key.clone())
            .expect("key")
            .public_key_to_der()
            .expect("DER");
        let algorithm = &usual[2..2 + 21];
        for form in [
            PointConversionForm::COMPRESSED,
            PointConversionForm::UNCOMPRESSED,
            PointConversionForm::HYBRID,
        ] {
            let point = key.public_key().to_bytes(&group, form, &mut context);
            let form = [algorithm, &{
                let point = point.expect("octets");
                let length = u8::try_from(point.len() + 1).expect("short");
                [&[3, length, 0], &point[..]].concat()
            }]
            .concat();
            let length = u8::try_from(form.len()).expect("short");
            let written = [&[0x30, length], &form[..]].concat();
            assert_eq!(KeyIdentity::of(&written), KeyIdentity::of(&usual));
        }
        let other = PKey::from_ec_key(EcKey::generate(&group).expect("key"))
            .expect("key")
            .public_key_to_der()
            .expect("DER");
        assert_ne!(KeyIdentity::of(&other), KeyIdentity::of(&usual));
    }

    #[test]
    fn rsa_is_the_same_without_its_parameters() {
        let key = Rsa::generate(2048).expect("key");
        let usual = PKey::from_rsa(key.clone())
            .expect("key")
            .public_key_to_der()
            .expect("DER");
        const OID: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
        let without = [&[0x30, 11], OID].concat();
        let key = key.public_key_to_der_pkcs1().expect("DER");
        let without = spki(&without, &key);
        assert_ne!(without, usual);
        assert_eq!(KeyIdentity::of(&without), KeyIdentity::of(&usual));
    }

    #[test]
    fn what_cannot_be_read_is_only_like_itself() {
        assert_eq!(KeyIdentity::of(b"x"), KeyIdentity::of(b"x"));
        assert_ne!(KeyIdentity::of(b"x"), KeyIdentity::of(b"y"));
    }
}
