//! Key objects: found by label or identifier, made as pairs, and their public halves as
//! SubjectPublicKeyInfo (PKCS#11 2.40 §4.8, §4.9; mechanisms §2.1, §2.3; for Ed25519 3.0 §2.3.5).

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5912::{SECP_256_R_1, SECP_384_R_1};
use const_oid::db::rfc8410::ID_ED_25519;
use cryptoki::error::Error;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use der::asn1::OctetStringRef;
use der::{Decode as _, Encode as _};
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey};
use openssl::rsa::Rsa;

use super::TokenError;
use crate::key::{KeyAlgorithm, KeyError, Pkcs11Uri};

/// A private key of a token with what must be known to sign with it.
pub(super) struct Found {
    pub(super) key: ObjectHandle,
    pub(super) algorithm: KeyAlgorithm,
    pub(super) public_key: Vec<u8>,
}

/// What the objects of one URI are called, for templates and sentences.
struct Wanted<'a> {
    token: &'a str,
    uri: &'a Pkcs11Uri,
}

/// Finds the private key and its public half.
pub(super) fn find(session: &Session, token: &str, uri: &Pkcs11Uri) -> Result<Found, TokenError> {
    let wanted = Wanted { token, uri };
    let key = wanted.private_key(session)?;
    wanted.login_suffices(session, key)?;
    let (algorithm, public_key) = match wanted.public_key(session, key)? {
        Some(public) => wanted.describe(session, public)?,
        None => wanted.describe_by_private_key(session, key)?,
    };
    Ok(Found {
        key,
        algorithm,
        public_key,
    })
}

/// Makes a key pair under the URI's label and its identifier, or one of the token's own randomness, if
/// the token knows what makes such a pair and what signs with it.
pub(super) fn generate(
    session: &Session,
    token: &str,
    uri: &Pkcs11Uri,
    algorithm: KeyAlgorithm,
    known: &[MechanismType],
) -> Result<(), TokenError> {
    let wanted = Wanted { token, uri };
    let label = uri.object.as_ref().ok_or(TokenError::Unnamed)?;
    if !wanted.private_keys(session)?.is_empty() {
        return Err(TokenError::KeyExists {
            token: token.to_owned(),
            wanted: wanted.name(),
        });
    }
    let cannot = || TokenError::CannotMake {
        token: token.to_owned(),
        algorithm,
    };
    let (mechanism, kind) = recipe(algorithm).ok_or_else(cannot)?;
    let needed = [&mechanism, &signing_mechanism(algorithm)].map(Mechanism::mechanism_type);
    if !needed.iter().all(|needed| known.contains(needed)) {
        return Err(cannot());
    }
    let failed = |error: Error| TokenError::failed(token, "make a key", &error);
    let id = match &uri.id {
        Some(id) => id.clone(),
        None => session.generate_random_vec(16).map_err(failed)?,
    };
    let common = [
        Attribute::Token(true),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Id(id),
    ];
    let mut public = vec![Attribute::Private(false), Attribute::Verify(true)];
    public.extend(kind);
    public.extend(common.iter().cloned());
    let mut private = vec![
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
    ];
    private.extend(common);
    session
        .generate_key_pair(&mechanism, &public, &private)
        .map_err(failed)?;
    Ok(())
}

/// The mechanism that makes a key of a kind, and the attributes that say which.
fn recipe(algorithm: KeyAlgorithm) -> Option<(Mechanism<'static>, Vec<Attribute>)> {
    let curve = |mechanism, oid: ObjectIdentifier| {
        let parameters = oid.to_der().ok()?;
        Some((mechanism, vec![Attribute::EcParams(parameters)]))
    };
    let modulus = |bits: u64| {
        let bits = Attribute::ModulusBits(bits.into());
        let exponent = Attribute::PublicExponent(vec![1, 0, 1]);
        Some((Mechanism::RsaPkcsKeyPairGen, vec![bits, exponent]))
    };
    match algorithm {
        KeyAlgorithm::EcdsaP256 => curve(Mechanism::EccKeyPairGen, SECP_256_R_1),
        KeyAlgorithm::EcdsaP384 => curve(Mechanism::EccKeyPairGen, SECP_384_R_1),
        KeyAlgorithm::Ed25519 => curve(Mechanism::EccEdwardsKeyPairGen, ID_ED_25519),
        KeyAlgorithm::Rsa2048 => modulus(2048),
        KeyAlgorithm::Rsa3072 => modulus(3072),
        KeyAlgorithm::Rsa4096 => modulus(4096),
    }
}

/// What signs with a key of a kind: for ECDSA a digest, for the others the message.
pub(super) fn signing_mechanism(algorithm: KeyAlgorithm) -> Mechanism<'static> {
    match algorithm {
        KeyAlgorithm::EcdsaP256 | KeyAlgorithm::EcdsaP384 => Mechanism::Ecdsa,
        KeyAlgorithm::Ed25519 => Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure)),
        KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => {
            Mechanism::Sha256RsaPkcs
        }
    }
}

/// A signature as X.509 has it, from the two numbers that tokens give one after the other
/// (PKCS#11 mechanisms §2.3.1, RFC 3279 §2.2.3).
pub(super) fn ecdsa_der(raw: &[u8]) -> Result<Vec<u8>, KeyError> {
    let (r, s) = raw.split_at(raw.len() / 2);
    let encoded = || {
        let r = BigNum::from_slice(r)?;
        let s = BigNum::from_slice(s)?;
        EcdsaSig::from_private_components(r, s)?.to_der()
    };
    encoded().map_err(|_: ErrorStack| KeyError::Backend {
        action: "encode a signature",
    })
}

impl Wanted<'_> {
    /// Label or identifier, as in the URI.
    fn name(&self) -> String {
        let object = Pkcs11Uri {
            object: self.uri.object.clone(),
            id: self.uri.id.clone(),
            ..Pkcs11Uri::default()
        };
        let object = object.to_string();
        object
            .strip_prefix(Pkcs11Uri::SCHEME)
            .unwrap_or_default()
            .to_owned()
    }

    fn failed(&self, error: &Error) -> TokenError {
        TokenError::failed(self.token, "look for keys", error)
    }

    fn private_keys(&self, session: &Session) -> Result<Vec<ObjectHandle>, TokenError> {
        let mut template = vec![Attribute::Class(ObjectClass::PRIVATE_KEY)];
        let label = self.uri.object.as_ref();
        template.extend(label.map(|label| Attribute::Label(label.as_bytes().to_vec())));
        template.extend(self.uri.id.clone().map(Attribute::Id));
        if template.len() == 1 {
            return Err(TokenError::Unnamed);
        }
        session
            .find_objects(&template)
            .map_err(|error| self.failed(&error))
    }

    fn private_key(&self, session: &Session) -> Result<ObjectHandle, TokenError> {
        let keys = self.private_keys(session)?;
        match keys[..] {
            [key] => Ok(key),
            [] => Err(TokenError::NoKey {
                token: self.token.to_owned(),
                wanted: self.name(),
                present: self.labels(session)?,
            }),
            _ => Err(TokenError::SeveralKeys {
                token: self.token.to_owned(),
                wanted: self.name(),
                count: keys.len(),
            }),
        }
    }

    /// Refuses a key for which the PIN is to be given again within every signature: `cryptoki` begins
    /// and ends one in the same call.
    fn login_suffices(&self, session: &Session, key: ObjectHandle) -> Result<(), TokenError> {
        let read = session
            .get_attributes(key, &[AttributeType::AlwaysAuthenticate])
            .map_err(|error| self.failed(&error))?;
        match read[..] {
            [Attribute::AlwaysAuthenticate(true)] => Err(TokenError::PinForEachSignature {
                token: self.token.to_owned(),
                wanted: self.name(),
            }),
            _ => Ok(()),
        }
    }

    /// The labels of every private key in the token.
    fn labels(&self, session: &Session) -> Result<Vec<String>, TokenError> {
        let label = |key: ObjectHandle| {
            let attributes = session.get_attributes(key, &[AttributeType::Label])?;
            let labels = attributes
                .into_iter()
                .filter_map(|attribute| match attribute {
                    Attribute::Label(label) => Some(String::from_utf8_lossy(&label).into_owned()),
                    _ => None,
                });
            Ok(labels.collect::<String>())
        };
        let found = || {
            let keys = session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)])?;
            keys.into_iter()
                .map(label)
                .collect::<Result<Vec<_>, Error>>()
        };
        let mut labels = found().map_err(|error| self.failed(&error))?;
        labels.sort();
        Ok(labels)
    }

    /// The public key with the private one's identifier, or without any with its label.
    fn public_key(
        &self,
        session: &Session,
        private: ObjectHandle,
    ) -> Result<Option<ObjectHandle>, TokenError> {
        let named = [AttributeType::Id, AttributeType::Label];
        let found = || {
            for attribute in session.get_attributes(private, &named)? {
                let given = match &attribute {
                    Attribute::Id(octets) | Attribute::Label(octets) => !octets.is_empty(),
                    _ => false,
                };
                let template = [Attribute::Class(ObjectClass::PUBLIC_KEY), attribute];
                if given && let [public] = session.find_objects(&template)?[..] {
                    return Ok(Some(public));
                }
            }
            Ok(None)
        };
        found().map_err(|error: Error| self.failed(&error))
    }

    /// As [`Self::describe`], of a private key without a public one: of RSA it has all of that, of other
    /// kinds in some tokens.
    fn describe_by_private_key(
        &self,
        session: &Session,
        private: ObjectHandle,
    ) -> Result<(KeyAlgorithm, Vec<u8>), TokenError> {
        match self.describe(session, private) {
            Err(TokenError::KeyKind { token, wanted }) => {
                Err(TokenError::NoPublicKey { token, wanted })
            }
            described => described,
        }
    }

    /// The kind of a public key, and the key as SubjectPublicKeyInfo.
    fn describe(
        &self,
        session: &Session,
        public: ObjectHandle,
    ) -> Result<(KeyAlgorithm, Vec<u8>), TokenError> {
        let read = |types: &[AttributeType]| {
            session
                .get_attributes(public, types)
                .map_err(|error| self.failed(&error))
        };
        let other = || TokenError::KeyKind {
            token: self.token.to_owned(),
            wanted: self.name(),
        };
        let described = match read(&[AttributeType::KeyType])?[..] {
            [Attribute::KeyType(KeyType::EC)] => {
                elliptic(&read(&[AttributeType::EcParams, AttributeType::EcPoint])?)
            }
            [Attribute::KeyType(KeyType::EC_EDWARDS)] => edwards(&read(&[AttributeType::EcPoint])?),
            [Attribute::KeyType(KeyType::RSA)] => rsa(&read(&[
                AttributeType::Modulus,
                AttributeType::PublicExponent,
            ])?),
            _ => None,
        };
        described.ok_or_else(other)
    }
}

/// The curve is given by name, the point as an OCTET STRING around the form of SEC 1 §2.3.3.
fn elliptic(attributes: &[Attribute]) -> Option<(KeyAlgorithm, Vec<u8>)> {
    let [Attribute::EcParams(parameters), Attribute::EcPoint(point)] = attributes else {
        return None;
    };
    let (algorithm, curve) = match ObjectIdentifier::from_der(parameters).ok()? {
        SECP_256_R_1 => (KeyAlgorithm::EcdsaP256, Nid::X9_62_PRIME256V1),
        SECP_384_R_1 => (KeyAlgorithm::EcdsaP384, Nid::SECP384R1),
        _ => return None,
    };
    let point = <&OctetStringRef>::from_der(point).ok()?.as_bytes();
    let encoded = || {
        let group = EcGroup::from_curve_name(curve)?;
        let mut context = BigNumContext::new()?;
        let point = EcPoint::from_bytes(&group, point, &mut context)?;
        let key = EcKey::from_public_key(&group, &point)?;
        PKey::from_ec_key(key)?.public_key_to_der()
    };
    Some((algorithm, encoded().ok()?))
}

/// Of the two curves, Ed25519 is the one whose points have 32 octets; some tokens give them without
/// the OCTET STRING around.
fn edwards(attributes: &[Attribute]) -> Option<(KeyAlgorithm, Vec<u8>)> {
    let [Attribute::EcPoint(point)] = attributes else {
        return None;
    };
    let point = match <&OctetStringRef>::from_der(point) {
        Ok(inner) => inner.as_bytes(),
        Err(_) => point,
    };
    let key = PKey::public_key_from_raw_bytes(point, Id::ED25519).ok()?;
    Some((KeyAlgorithm::Ed25519, key.public_key_to_der().ok()?))
}

fn rsa(attributes: &[Attribute]) -> Option<(KeyAlgorithm, Vec<u8>)> {
    let [
        Attribute::Modulus(modulus),
        Attribute::PublicExponent(exponent),
    ] = attributes
    else {
        return None;
    };
    let modulus = BigNum::from_slice(modulus).ok()?;
    let algorithm = match modulus.num_bits() {
        2048 => KeyAlgorithm::Rsa2048,
        3072 => KeyAlgorithm::Rsa3072,
        4096 => KeyAlgorithm::Rsa4096,
        _ => return None,
    };
    let encoded = || {
        let key = Rsa::from_public_components(modulus, BigNum::from_slice(exponent)?)?;
        PKey::from_rsa(key)?.public_key_to_der()
    };
    Some((algorithm, encoded().ok()?))
}
