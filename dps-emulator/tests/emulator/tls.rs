//! The handshake: both versions, any chain, but a proven key.

use std::io;
use std::sync::Arc;

use dps_emulator::{EmulatorConfig, ServerKey, TlsSettings, TlsVersions};
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs::{default_provider, sign::any_supported_type};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{
    CipherSuite, ClientConfig, ProtocolVersion, RootCertStore, SignatureScheme,
    SupportedCipherSuite, SupportedProtocolVersion, version,
};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::fixture::{Authority, Leaf, World};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

/// Shows a certificate with whatever key it was given.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        assert!(
            hints.is_empty(),
            "no CA names that could exclude a certificate"
        );
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The status line that a device gets for `register` in one version of TLS, or none.
async fn register(
    world: &World,
    version: &'static SupportedProtocolVersion,
    certificate: &Leaf,
    key: &Leaf,
) -> Option<String> {
    let mut roots = RootCertStore::empty();
    let anchor = CertificateDer::from_pem_slice(world.emulator.trust_anchor_pem().as_bytes());
    roots.add(anchor.expect("PEM")).expect("an anchor");
    let key = PrivateKeyDer::from_pem_slice(key.key.as_bytes()).expect("PEM");
    let chain = vec![CertificateDer::from(certificate.der.clone())];
    let shown = CertifiedKey::new(chain, any_supported_type(&key).expect("a key"));
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(Shown(Arc::new(shown))));
    let stream = TcpStream::connect(world.emulator.address())
        .await
        .expect("connects");
    let name = ServerName::try_from("global.azure-devices-provisioning.net").expect("a name");
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(name, stream).await.ok()?;
    let path = format!(
        "/{}/registrations/dev-1/register",
        world.emulator.id_scope()
    );
    let request = format!(
        "PUT {path}?api-version=2019-03-31 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    answer.lines().next().map(str::to_owned)
}

#[tokio::test]
async fn a_client_is_refused_in_the_handshake_only_if_it_cannot_prove_its_key() {
    let world = World::start().await;
    let root = Authority::root("Root");
    let leaf = root.leaf("dev-1", &[]);
    let stranger = root.leaf("dev-1", &[]);
    world.enroll("dev-1", &leaf).await;
    for version in VERSIONS {
        let admitted = register(&world, version, &leaf, &leaf).await;
        assert_eq!(
            admitted.as_deref(),
            Some("HTTP/1.1 202 Accepted"),
            "{version:?}"
        );
        let refused = register(&world, version, &stranger, &stranger).await;
        assert_eq!(
            refused.as_deref(),
            Some("HTTP/1.1 401 Unauthorized"),
            "{version:?}"
        );
        assert_eq!(
            register(&world, version, &leaf, &stranger).await,
            None,
            "{version:?}"
        );
    }
}

/// Negotiates with an emulator's port and gives the version and suite, or why it failed.
async fn negotiate(
    world: &World,
    name: &'static str,
    version: &'static SupportedProtocolVersion,
    suites: &[CipherSuite],
) -> Result<(ProtocolVersion, CipherSuite), io::Error> {
    let mut roots = RootCertStore::empty();
    let anchor = CertificateDer::from_pem_slice(world.emulator.trust_anchor_pem().as_bytes());
    roots.add(anchor.expect("PEM")).expect("an anchor");
    let mut provider = default_provider();
    if !suites.is_empty() {
        let offered = |suite: &SupportedCipherSuite| suites.contains(&suite.suite());
        provider.cipher_suites.retain(offered);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(world.emulator.mqtt_address()).await?;
    let connector = TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from(name).expect("a name");
    let stream = connector.connect(name, stream).await?;
    let session = stream.get_ref().1;
    let suite = session.negotiated_cipher_suite().expect("a suite");
    Ok((
        session.protocol_version().expect("a version"),
        suite.suite(),
    ))
}

fn with_tls(key: ServerKey, versions: TlsVersions) -> EmulatorConfig {
    let mut tls = TlsSettings::default();
    (tls.key, tls.versions) = (key, versions);
    EmulatorConfig {
        tls,
        ..EmulatorConfig::default()
    }
}

/// The suites that DPS documents for TLS 1.2: ECDHE with AES-GCM; ChaCha20 is none of them.
#[tokio::test]
async fn tls_1_2_has_the_suites_of_dps_for_either_key() {
    let suites = [
        (
            ServerKey::Ecdsa,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        ),
        (
            ServerKey::Ecdsa,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        ),
        (
            ServerKey::Rsa,
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        ),
        (
            ServerKey::Rsa,
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        ),
    ];
    let other = [
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ];
    for key in [ServerKey::Ecdsa, ServerKey::Rsa] {
        let world = World::with(with_tls(key, TlsVersions::Both)).await;
        for (_, suite) in suites.iter().filter(|(of, _)| *of == key) {
            let negotiated = negotiate(&world, "localhost", &version::TLS12, &[*suite]).await;
            assert_eq!(
                negotiated.expect("agreed"),
                (ProtocolVersion::TLSv1_2, *suite)
            );
        }
        let refused = negotiate(&world, "localhost", &version::TLS12, &other).await;
        assert!(refused.is_err(), "{key:?}");
        let newer = negotiate(&world, "localhost", &version::TLS13, &[]).await;
        assert_eq!(newer.expect("agreed").0, ProtocolVersion::TLSv1_3);
    }
}

#[tokio::test]
async fn tls_1_3_can_be_left_out() {
    let world = World::with(with_tls(ServerKey::Ecdsa, TlsVersions::Tls12)).await;
    let refused = negotiate(&world, "localhost", &version::TLS13, &[]).await;
    assert!(refused.is_err());
    let agreed = negotiate(&world, "localhost", &version::TLS12, &[]).await;
    assert_eq!(agreed.expect("agreed").0, ProtocolVersion::TLSv1_2);
}

/// Any DPS and any hub, so that one that is linked later is reached as well; nobody else.
#[tokio::test]
async fn one_certificate_is_good_for_every_host_of_azure_that_is_played() {
    let world = World::start().await;
    for name in [
        "localhost",
        "127.0.0.1",
        "global.azure-devices-provisioning.net",
        "any-dps.azure-devices-provisioning.net",
        "any-hub.azure-devices.net",
        "management.azure.com",
    ] {
        let session = negotiate(&world, name, &version::TLS12, &[]).await;
        assert!(session.is_ok(), "{name}: {session:?}");
    }
    for name in [
        "portal.azure.com",
        "azure-devices.net",
        "a.b.azure-devices.net",
    ] {
        let session = negotiate(&world, name, &version::TLS12, &[]).await;
        assert!(session.is_err(), "{name}");
    }
}

#[tokio::test]
async fn the_server_answers_under_every_name_that_clients_use() {
    let world = World::start().await;
    let port = world.emulator.address().port();
    for host in ["localhost", "127.0.0.1"] {
        let url = format!("https://{host}:{port}/enrollments/x?api-version=2021-10-01");
        let request = world.client.get(url).header("Authorization", "Bearer x");
        let reply = crate::fixture::send(request).await;
        assert_eq!(reply.body["errorCode"], json!(404_201), "{host}");
    }
}
