//! The server's throw-away identity, and what is asked of clients in the handshake.
//!
//! A CA and a server certificate are made at each start and forgotten at its end; nothing but the CA
//! certificate leaves. Clients are asked for a certificate, need not have one, and are refused here
//! only if they cannot prove the key of the one they show: whether its chain is worth anything is
//! decided by the planes, with an answer instead of an alert (under TLS 1.3 an alert would reach the
//! client only at its first read).

use std::net::IpAddr;
use std::sync::Arc;

use der::asn1::AnyRef;
use der::{Decode as _, Encode as _};
use pki_core::certificate::Certificate;
use pki_core::ports::Clock as _;
use pki_core::ports::system::SystemClock;
use pki_core::time::{Span, Time};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize, SanType,
};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, CipherSuite, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved,
    ServerConfig, SignatureScheme, SupportedCipherSuite, version,
};
use spki::SubjectPublicKeyInfoRef;
use time::OffsetDateTime;

/// As long as Apple's TLS accepts below a root that a user installed.
const LIFETIME_DAYS: u64 = 824;

/// How the server speaks TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TlsSettings {
    /// The key of the server's certificate and of its CA.
    pub key: ServerKey,
    /// The versions that are offered.
    pub versions: TlsVersions,
}

/// The kind of key that the server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ServerKey {
    /// ECDSA on P-256.
    #[default]
    Ecdsa,
    /// RSA with 2048 bits, as the real service has.
    Rsa,
}

/// The versions of TLS that are offered. Whether DPS offers 1.3 is not confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TlsVersions {
    /// 1.2 and 1.3.
    #[default]
    Both,
    /// 1.2 alone, the version that DPS documents.
    Tls12,
}

/// ([TLS support in DPS](https://learn.microsoft.com/azure/iot-dps/tls-support)).
const DPS_SUITES: [CipherSuite; 4] = [
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
];

/// Why the server's identity could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A name is no DNS name, or a key could not be made.
    #[error("the server certificate cannot be made")]
    Certificate(#[from] rcgen::Error),
    /// The machine's clock is out of range.
    #[error("the machine's clock is out of range")]
    Clock,
    /// The TLS library does not accept what was made.
    #[error("TLS cannot be set up")]
    Setup(#[from] Error),
}

/// The common name of the CA that is made for one run.
pub(crate) const TRUST_ANCHOR_NAME: &str = "dps-emulator throw-away CA";

/// The server's identity: its TLS configuration and the CA that clients have to trust.
pub(crate) struct ServerIdentity {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) trust_anchor_pem: String,
}

impl ServerIdentity {
    /// Makes an identity for these host names and addresses.
    pub(crate) fn make(
        names: &[&str],
        addresses: &[IpAddr],
        settings: TlsSettings,
    ) -> Result<Self, TlsError> {
        let ca_key = key_pair(settings.key)?;
        let mut ca = dated(TRUST_ANCHOR_NAME)?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let anchor = ca.self_signed(&ca_key)?;
        let issuer = Issuer::new(ca, ca_key);

        let key = key_pair(settings.key)?;
        let mut server = dated("dps-emulator")?;
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        server.use_authority_key_identifier_extension = true;
        for name in names {
            let name = SanType::DnsName((*name).try_into()?);
            server.subject_alt_names.push(name);
        }
        let addresses = addresses.iter().copied().map(SanType::IpAddress);
        server.subject_alt_names.extend(addresses);
        let certificate = server.signed_by(&key, &issuer)?;

        let chain = vec![certificate.der().clone(), anchor.der().clone()];
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        Ok(Self {
            config: Arc::new(config(chain, key, settings.versions)?),
            trust_anchor_pem: anchor.pem(),
        })
    }
}

fn key_pair(kind: ServerKey) -> Result<KeyPair, rcgen::Error> {
    match kind {
        ServerKey::Ecdsa => KeyPair::generate(),
        ServerKey::Rsa => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
    }
}

/// Clients judge the server by their machine's clock, so its dates follow the machine's, whatever
/// clock the emulator was given.
fn dated(common_name: &str) -> Result<CertificateParams, TlsError> {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    let today = SystemClock.now();
    params.not_before = moment(today - Span::from_days(1))?;
    params.not_after = moment(today + Span::from_days(LIFETIME_DAYS))?;
    Ok(params)
}

fn moment(time: Time) -> Result<OffsetDateTime, TlsError> {
    OffsetDateTime::from_unix_timestamp(time.unix_seconds()).map_err(|_| TlsError::Clock)
}

fn config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    versions: TlsVersions,
) -> Result<ServerConfig, Error> {
    let provider = Arc::new(provider());
    let verifier = Arc::new(AnyClient::new(&provider));
    let versions: &[_] = match versions {
        TlsVersions::Both => &[&version::TLS13, &version::TLS12],
        TlsVersions::Tls12 => &[&version::TLS12],
    };
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
}

/// In TLS 1.2 the suites that DPS documents, as far as the library has them: ECDHE with AES-GCM. Those
/// with CBC are missing, which no client depends on.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| match suite {
        SupportedCipherSuite::Tls12(suite) => DPS_SUITES.contains(&suite.common.suite),
        SupportedCipherSuite::Tls13(_) => true,
    });
    provider
}

/// The certificates that a client presented, leaf first; those that cannot be read are left out, and
/// with an unreadable leaf there are none.
pub(crate) fn presented(chain: Option<&[CertificateDer<'_>]>) -> Arc<[Certificate]> {
    let chain = chain.unwrap_or_default();
    let read = |der: &CertificateDer<'_>| Certificate::from_der(der).ok();
    match chain.split_first() {
        Some((leaf, rest)) if let Some(leaf) = read(leaf) => std::iter::once(leaf)
            .chain(rest.iter().filter_map(read))
            .collect(),
        _ => Arc::default(),
    }
}

/// Accepts every client that proves the key of its leaf.
#[derive(Debug)]
struct AnyClient {
    algorithms: WebPkiSupportedAlgorithms,
}

impl AnyClient {
    fn new(provider: &CryptoProvider) -> Self {
        Self {
            algorithms: provider.signature_verification_algorithms,
        }
    }

    /// Checks the handshake's signature with the key of the leaf. rustls would do it, but only for
    /// certificates that webpki can read, which leaves out version 1 and unknown critical extensions.
    fn verify(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let unreadable = || Error::InvalidCertificate(CertificateError::BadEncoding);
        let leaf = Certificate::from_der(leaf).map_err(|_| unreadable())?;
        let public_key = leaf.public_key();
        let spki = SubjectPublicKeyInfoRef::from_der(&public_key).map_err(|_| unreadable())?;
        let encoded = spki.algorithm.to_der().map_err(|_| unreadable())?;
        let algorithm = AnyRef::from_der(&encoded).map_err(|_| unreadable())?;
        let key = spki.subject_public_key.as_bytes().ok_or_else(unreadable)?;
        let mut candidates = self
            .algorithms
            .mapping
            .iter()
            .filter(|(scheme, _)| *scheme == signed.scheme)
            .flat_map(|(_, algorithms)| algorithms.iter())
            .filter(|candidate| candidate.public_key_alg_id().as_ref() == algorithm.value());
        let holds = candidates.any(|candidate| {
            candidate
                .verify_signature(key, message, signed.signature())
                .is_ok()
        });
        if holds {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::BadSignature))
        }
    }
}

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// Empty, so that no client holds its certificate back.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match signed.scheme {
            // RFC 8446 §4.2.3: not for handshakes.
            SignatureScheme::RSA_PKCS1_SHA256
            | SignatureScheme::RSA_PKCS1_SHA384
            | SignatureScheme::RSA_PKCS1_SHA512 => {
                Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
            }
            _ => self.verify(message, leaf, signed),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
