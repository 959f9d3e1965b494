//! What opening an encrypted key costs, asked before it is paid (RFC 8018 §5.2, §6; RFC 7914 §7).
//!
//! A file may name any number of rounds and, with scrypt, any amount of memory; one that was made to
//! keep a machine busy is refused.

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5911::ID_ENCRYPTED_DATA;
use der::asn1::{AnyRef, OctetStringRef};
use der::{Decode as _, Reader as _, Sequence};
use spki::AlgorithmIdentifierRef;

use super::encrypted::KeyFileError;

/// Rounds of a hash: eight times what is written here, some two seconds on a slow core.
const MOST_ROUNDS: u64 = 5_000_000;
/// Octets of memory for scrypt: what its authors advise for files (N = 2^17, r = 8).
const MOST_MEMORY: u64 = 128 * 1024 * 1024;
/// id-PBES2 (RFC 8018 appendix A.4).
const PBES2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.13");

/// id-PBMAC1 (RFC 8018 appendix A.5).
const PBMAC1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.14");
/// keyBag (RFC 7292 §4.2.1).
const KEY_BAG: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.1");
/// pkcs8ShroudedKeyBag (RFC 7292 §4.2.2).
const SHROUDED_KEY_BAG: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.2");
/// id-scrypt (RFC 7914 §7).
const SCRYPT: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11591.4.11");

/// EncryptedPrivateKeyInfo (RFC 5958 §3), whatever the algorithm.
#[derive(Sequence)]
struct Encrypted<'a> {
    algorithm: AlgorithmIdentifierRef<'a>,
    data: &'a OctetStringRef,
}

/// PBES2-params (RFC 8018 appendix A.4).
#[derive(Sequence)]
struct Pbes2<'a> {
    derivation: AlgorithmIdentifierRef<'a>,
    cipher: AlgorithmIdentifierRef<'a>,
}

/// Whether DER has the outer form of an encrypted PKCS#8 key.
pub(super) fn is_encrypted(der: &[u8]) -> bool {
    Encrypted::from_der(der).is_ok()
}

/// Refuses a key that is encrypted at an unreasonable cost, or in a structure that cannot be read.
pub(super) fn check(der: &[u8]) -> Result<(), KeyFileError> {
    let unreadable = |_| KeyFileError::Encryption;
    check_algorithm(Encrypted::from_der(der).map_err(unreadable)?.algorithm)
}

fn check_algorithm(encryption: AlgorithmIdentifierRef<'_>) -> Result<(), KeyFileError> {
    let unreadable = |_| KeyFileError::Encryption;
    let algorithm = match encryption.oid {
        PBES2 => {
            let parameters = encryption.parameters.ok_or(KeyFileError::Encryption)?;
            let scheme: Pbes2<'_> = parameters.decode_as().map_err(unreadable)?;
            scheme.derivation
        }
        _ => encryption,
    };
    let (first, rest) = numbers(&algorithm).map_err(unreadable)?;
    match algorithm.oid {
        SCRYPT => check_scrypt(first, &rest),
        // PBKDF2, and every scheme older than PBES2: the salt, then the rounds.
        _ => check_rounds(first),
    }
}

fn check_rounds(rounds: u64) -> Result<(), KeyFileError> {
    if rounds <= MOST_ROUNDS {
        Ok(())
    } else {
        Err(KeyFileError::TooCostly {
            cost: format!("{rounds} rounds"),
        })
    }
}

fn check_scrypt(cost: u64, rest: &[u64]) -> Result<(), KeyFileError> {
    let [block, parallel, ..] = rest else {
        return Err(KeyFileError::Encryption);
    };
    let memory = cost.saturating_mul(*block).saturating_mul(128);
    if memory.saturating_mul(*parallel) <= MOST_MEMORY {
        return Ok(());
    }
    Err(KeyFileError::TooCostly {
        cost: format!("scrypt with N={cost}, r={block}, p={parallel}"),
    })
}

/// The integers after the salt of a derivation's parameters.
fn numbers(algorithm: &AlgorithmIdentifierRef<'_>) -> der::Result<(u64, Vec<u64>)> {
    let parameters = algorithm.parameters.ok_or(der::ErrorKind::Failed)?;
    parameters.sequence(|reader| {
        let _salt: AnyRef<'_> = reader.decode()?;
        let first = reader.decode()?;
        let mut rest = Vec::new();
        while !reader.is_finished() {
            let value: AnyRef<'_> = reader.decode()?;
            rest.extend(value.decode_as::<u64>());
        }
        Ok((first, rest))
    })
}

/// PFX (RFC 7292 §4).
#[derive(Sequence)]
struct Pkcs12<'a> {
    version: u8,
    safe: ContentInfo<'a>,
    #[asn1(optional = "true")]
    mac: Option<Mac<'a>>,
}

/// MacData (RFC 7292 §4).
#[derive(Sequence)]
struct Mac<'a> {
    digest: AnyRef<'a>,
    salt: &'a OctetStringRef,
    #[asn1(optional = "true")]
    rounds: Option<u64>,
}

/// ContentInfo (RFC 5652 §3).
#[derive(Sequence)]
struct ContentInfo<'a> {
    kind: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    content: AnyRef<'a>,
}

/// How the MAC of a PKCS#12 file is made, and what is in it as far as that can be told without its passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PfxFacts {
    /// PBMAC1 (RFC 9579): OpenSSL reads it from 3.4 on.
    pub(crate) has_pbmac1: bool,
    /// Private keys, encrypted each or not.
    pub(crate) keys: usize,
}

/// Looks into a PKCS#12 file; one that cannot be read tells nothing.
pub(crate) fn pfx_facts(der: &[u8]) -> Option<PfxFacts> {
    let file = Pkcs12::from_der(der).ok()?;
    let mac = file.mac.as_ref();
    let algorithm = mac.and_then(|mac| mac_algorithm(&mac.digest).ok());
    let safe: &OctetStringRef = file.safe.content.decode_as().ok()?;
    let parts = Vec::<ContentInfo<'_>>::from_der(safe.as_bytes()).ok()?;
    Some(PfxFacts {
        has_pbmac1: algorithm == Some(PBMAC1),
        keys: parts.iter().map(keys_in).sum(),
    })
}

fn mac_algorithm(digest: &AnyRef<'_>) -> der::Result<ObjectIdentifier> {
    digest.sequence(|reader| {
        let algorithm: AlgorithmIdentifierRef<'_> = reader.decode()?;
        reader.drain(reader.remaining_len())?;
        Ok(algorithm.oid)
    })
}

fn keys_in(part: &ContentInfo<'_>) -> usize {
    let Ok(bags) = part.content.decode_as::<&OctetStringRef>() else {
        return 0;
    };
    let bags = Vec::<AnyRef<'_>>::from_der(bags.as_bytes()).unwrap_or_default();
    let is_key = |bag: &&AnyRef<'_>| {
        bag_of(bag).is_ok_and(|(kind, _)| matches!(kind, KEY_BAG | SHROUDED_KEY_BAG))
    };
    bags.iter().filter(is_key).count()
}

fn bag_of<'a>(bag: &AnyRef<'a>) -> der::Result<(ObjectIdentifier, AnyRef<'a>)> {
    bag.sequence(|reader| {
        let kind = reader.decode()?;
        let value = reader.decode()?;
        reader.drain(reader.remaining_len())?;
        Ok((kind, value))
    })
}

/// Refuses a PKCS#12 file that is encrypted at an unreasonable cost, as far as that can be told
/// without its passphrase.
pub(crate) fn check_pkcs12(der: &[u8]) -> Result<(), KeyFileError> {
    let file = Pkcs12::from_der(der).map_err(|_| KeyFileError::Encryption)?;
    check_rounds(file.mac.and_then(|mac| mac.rounds).unwrap_or(1))?;
    // Some write what is inside as BER, which the decoder of the file reads and this does not.
    let Ok(safe) = file.safe.content.decode_as::<&OctetStringRef>() else {
        return Ok(());
    };
    let parts = Vec::<ContentInfo<'_>>::from_der(safe.as_bytes()).unwrap_or_default();
    for part in &parts {
        check_part(part)?;
    }
    Ok(())
}

/// One part of a PKCS#12 file: encrypted as a whole, or bags of which keys are (RFC 7292 §4.1, §4.2).
fn check_part(part: &ContentInfo<'_>) -> Result<(), KeyFileError> {
    if part.kind == ID_ENCRYPTED_DATA {
        let algorithm = part.content.sequence(|reader| {
            let _version: AnyRef<'_> = reader.decode()?;
            let content: AnyRef<'_> = reader.decode()?;
            reader.drain(reader.remaining_len())?;
            content.sequence(|reader| {
                let _kind: ObjectIdentifier = reader.decode()?;
                let algorithm: AlgorithmIdentifierRef<'_> = reader.decode()?;
                reader.drain(reader.remaining_len())?;
                Ok::<_, der::Error>(algorithm)
            })
        });
        return check_algorithm(algorithm.map_err(|_| KeyFileError::Encryption)?);
    }
    let Ok(bags) = part.content.decode_as::<&OctetStringRef>() else {
        return Ok(());
    };
    for bag in Vec::<AnyRef<'_>>::from_der(bags.as_bytes()).unwrap_or_default() {
        if let Ok((SHROUDED_KEY_BAG, value)) = bag_of(&bag) {
            check(value.value())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use der::Encode as _;
    use pkcs8::EncryptedPrivateKeyInfoRef;
    use pkcs8::pkcs5::EncryptionScheme;
    use pkcs8::pkcs5::pbes2::Parameters;

    use super::*;

    fn encrypted(rounds: u32) -> Vec<u8> {
        let parameters = Parameters::generate_pbkdf2_sha256_aes256cbc(rounds, &[1; 16], [0; 16]);
        let info = EncryptedPrivateKeyInfoRef {
            encryption_algorithm: EncryptionScheme::Pbes2(parameters.expect("parameters")),
            encrypted_data: OctetStringRef::new(&[0; 48]).expect("octets"),
        };
        info.to_der().expect("encoded")
    }

    #[test]
    fn a_file_that_asks_for_too_many_rounds_is_refused() {
        assert_eq!(check(&encrypted(600_000)), Ok(()));
        assert_eq!(check(&encrypted(5_000_000)), Ok(()));
        let refused = check(&encrypted(5_000_001)).expect_err("too many");
        assert!(
            refused.to_string().contains("(5000001 rounds)"),
            "{refused}"
        );
    }

    #[test]
    fn scrypt_is_bounded_by_memory_and_time() {
        assert_eq!(check_scrypt(1 << 14, &[8, 1]), Ok(()));
        assert_eq!(check_scrypt(1 << 17, &[8, 1]), Ok(()));
        assert!(check_scrypt(1 << 18, &[8, 1]).is_err());
        assert!(check_scrypt(1 << 14, &[8, 64]).is_err());
        assert!(check_scrypt(u64::MAX, &[u64::MAX, 2]).is_err());
        assert_eq!(check_scrypt(1, &[]), Err(KeyFileError::Encryption));
    }

    #[test]
    fn what_is_no_encrypted_key_is_told_apart() {
        assert!(is_encrypted(&encrypted(1)));
        assert!(!is_encrypted(&[0x30, 0]));
        assert_eq!(check(&[0x30, 0]), Err(KeyFileError::Encryption));
    }

    /// A file of PKCS#12 with a MAC by an algorithm, and bags of these kinds.
    fn pfx(mac: ObjectIdentifier, kinds: &[ObjectIdentifier]) -> Vec<u8> {
        use der::asn1::OctetString;
        let sequence = |content: &[u8]| {
            let any = AnyRef::new(der::Tag::Sequence, content).expect("a sequence");
            any.to_der().expect("DER")
        };
        let bag = |kind: &ObjectIdentifier| {
            let value = 5u8.to_der().expect("DER");
            sequence(&[kind.to_der().expect("DER"), value].concat())
        };
        let bags: Vec<Vec<u8>> = kinds.iter().map(bag).collect();
        let octets = |content: &[u8]| {
            let octets = OctetString::new(content).expect("octets");
            octets.to_der().expect("DER")
        };
        let info = |content: &[u8]| {
            let kind = const_oid::db::rfc5911::ID_DATA;
            let content = AnyRef::from_der(content).expect("content");
            ContentInfo { kind, content }.to_der().expect("DER")
        };
        let part = info(&octets(&sequence(&bags.concat())));
        let safe = info(&octets(&sequence(&part)));
        let algorithm = AlgorithmIdentifierRef {
            oid: mac,
            parameters: None,
        };
        let digest = [algorithm.to_der().expect("DER"), octets(b"mac")].concat();
        let file = [
            3u8.to_der().expect("DER"),
            safe,
            sequence(&[sequence(&digest), octets(b"salt")].concat()),
        ];
        sequence(&file.concat())
    }

    #[test]
    fn what_is_in_a_pkcs12_file_is_told_without_its_passphrase() {
        let sha256 = const_oid::db::rfc5912::ID_SHA_256;
        let certificate = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.3");
        let facts = |mac, kinds: &[_]| pfx_facts(&pfx(mac, kinds));
        let of = |has_pbmac1, keys| Some(PfxFacts { has_pbmac1, keys });
        assert_eq!(
            facts(sha256, &[SHROUDED_KEY_BAG, certificate]),
            of(false, 1)
        );
        assert_eq!(facts(sha256, &[KEY_BAG, SHROUDED_KEY_BAG]), of(false, 2));
        assert_eq!(facts(PBMAC1, &[SHROUDED_KEY_BAG]), of(true, 1));
        assert_eq!(pfx_facts(b"x"), None);
    }
}
