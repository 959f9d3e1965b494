//! The HTTPS adapter against a server on loopback: trust, identity, and which fault is which.

#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dps_client::auth::DeviceIdentity;
use dps_client::transport::{
    HttpOptions, HttpTransport, ProxyUse, Request, Response, Transport, TransportError,
    TransportSetupError, Trust,
};
use http::{HeaderMap, Method, StatusCode};
use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Name};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A self-signed certificate and its key, as PEM.
struct SelfSigned {
    certificate: String,
    key: String,
}

fn self_signed(common_name: &str) -> SelfSigned {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("curve");
    let key: PKey<Private> = PKey::from_ec_key(EcKey::generate(&group).expect("key")).expect("key");
    let mut name = X509Name::builder().expect("name");
    name.append_entry_by_text("CN", common_name).expect("name");
    let name = name.build();
    let mut builder = X509::builder().expect("builder");
    builder.set_version(2).expect("version");
    builder.set_subject_name(&name).expect("subject");
    builder.set_issuer_name(&name).expect("issuer");
    builder
        .set_not_before(&Asn1Time::days_from_now(0).expect("time"))
        .expect("not before");
    builder
        .set_not_after(&Asn1Time::days_from_now(2).expect("time"))
        .expect("not after");
    builder.set_pubkey(&key).expect("public key");
    let names = SubjectAlternativeName::new()
        .dns("localhost")
        .build(&builder.x509v3_context(None, None))
        .expect("names");
    builder.append_extension(names).expect("extension");
    builder
        .append_extension(BasicConstraints::new().build().expect("constraints"))
        .expect("extension");
    builder
        .sign(&key, MessageDigest::sha256())
        .expect("signature");
    let text = |pem: Vec<u8>| String::from_utf8(pem).expect("PEM");
    SelfSigned {
        certificate: text(builder.build().to_pem().expect("PEM")),
        key: text(key.private_key_to_pem_pkcs8().expect("PEM")),
    }
}

/// Asks for a client certificate and takes any, as DPS does.
#[derive(Debug)]
struct AnyClient;

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms =
            rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms =
            rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// What the server does with a connection once the request is there.
#[derive(Clone, Copy)]
enum Manner {
    /// Answers 307 to another place, with the number of client certificates as the body.
    Redirect,
    /// Answers with the head of the request as the body.
    Echo,
    /// Hangs up in the middle of the answer.
    HangUp,
    /// Says nothing.
    Silent,
}

/// A server on loopback. It ends with the test's runtime.
async fn server(identity: &SelfSigned, manner: Manner) -> SocketAddr {
    let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).expect("PEM")];
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("PEM");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(Arc::new(AnyClient))
        .with_single_cert(chain, key)
        .expect("identity");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let address = listener.local_addr().expect("address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let shown = stream.get_ref().1.peer_certificates().map_or(0, <[_]>::len);
                let mut request = [0; 4096];
                let read = stream.read(&mut request).await.unwrap_or_default();
                let answer = match manner {
                    Manner::Redirect => format!(
                        "HTTP/1.1 307 Temporary Redirect\r\nlocation: /elsewhere\r\ncontent-length: 1\r\n\r\n{shown}"
                    ),
                    Manner::Echo => {
                        let head = String::from_utf8_lossy(&request[..read]).to_lowercase();
                        format!(
                            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}",
                            head.len()
                        )
                    }
                    Manner::HangUp => {
                        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_owned()
                    }
                    Manner::Silent => return std::future::pending().await,
                };
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    address
}

fn options(trust: Trust) -> HttpOptions {
    let mut options = HttpOptions::default();
    options.trust = trust;
    options.proxy = ProxyUse::Direct;
    options
}

async fn ask(options: &HttpOptions, address: SocketAddr) -> Result<Response, TransportError> {
    let url = format!("https://localhost:{}/", address.port())
        .parse()
        .expect("URL");
    let request = Request {
        method: Method::GET,
        url,
        headers: HeaderMap::new(),
        body: None,
    };
    HttpTransport::new(options)
        .expect("transport")
        .send(request)
        .await
}

#[tokio::test]
async fn an_anchor_of_ours_is_believed_and_a_redirect_is_not_followed() {
    let identity = self_signed("localhost");
    let address = server(&identity, Manner::Redirect).await;
    for trust in [
        Trust::Only(identity.certificate.clone()),
        Trust::SystemAnd(identity.certificate.clone()),
    ] {
        let response = ask(&options(trust), address).await.expect("answer");
        assert_eq!(response.status, StatusCode::TEMPORARY_REDIRECT);
        assert_eq!(response.body, b"0");
    }
}

#[tokio::test]
async fn a_device_shows_its_certificate() {
    let identity = self_signed("localhost");
    let device = self_signed("device-001");
    let address = server(&identity, Manner::Redirect).await;
    let mut options = options(Trust::Only(identity.certificate));
    options.identity = Some(DeviceIdentity::new(device.certificate, device.key.into()));
    assert_eq!(ask(&options, address).await.expect("answer").body, b"1");
}

/// The front ends of Azure answer 411 to a POST without a length.
#[tokio::test]
async fn a_post_without_a_body_says_so() {
    let identity = self_signed("localhost");
    let address = server(&identity, Manner::Echo).await;
    let transport =
        HttpTransport::new(&options(Trust::Only(identity.certificate))).expect("transport");
    let head = async |method: Method| {
        let url = format!("https://localhost:{}/", address.port())
            .parse()
            .expect("URL");
        let request = Request {
            method,
            url,
            headers: HeaderMap::new(),
            body: None,
        };
        String::from_utf8(transport.send(request).await.expect("answer").body).expect("text")
    };
    let post = head(Method::POST).await;
    assert_eq!(post.matches("content-length: 0\r\n").count(), 1, "{post}");
    assert!(post.contains("user-agent: dps-pki/"), "{post}");
    assert!(!head(Method::GET).await.contains("content-length"));
}

#[tokio::test]
async fn a_server_that_is_not_trusted_is_a_fault_of_tls() {
    let identity = self_signed("localhost");
    let address = server(&identity, Manner::Redirect).await;
    for trust in [
        Trust::System,
        Trust::Only(self_signed("localhost").certificate),
    ] {
        let error = ask(&options(trust), address)
            .await
            .expect_err("not trusted");
        assert!(matches!(error, TransportError::Tls { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn nobody_there_silence_and_hanging_up_are_told_apart() {
    let identity = self_signed("localhost");
    let trust = || Trust::Only(identity.certificate.clone());

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let address = listener.local_addr().expect("address");
    drop(listener);
    let error = ask(&options(trust()), address)
        .await
        .expect_err("nobody there");
    assert!(matches!(error, TransportError::Connect { .. }), "{error:?}");

    let mut hasty = options(trust());
    hasty.timeout = Duration::from_millis(300);
    let error = ask(&hasty, server(&identity, Manner::Silent).await)
        .await
        .expect_err("silence");
    assert!(matches!(error, TransportError::Timeout { .. }), "{error:?}");
    assert!(error.to_string().ends_with(" within 300ms"), "{error}");

    let error = ask(&options(trust()), server(&identity, Manner::HangUp).await)
        .await
        .expect_err("half");
    assert!(
        matches!(error, TransportError::Interrupted { .. }),
        "{error:?}"
    );
}

#[test]
fn unusable_anchors_and_identities_are_refused_at_once() {
    let refused = |options: &HttpOptions| HttpTransport::new(options).expect_err("refused");
    assert!(matches!(
        refused(&options(Trust::Only(String::new()))),
        TransportSetupError::NoTrustAnchor
    ));
    let mut without_key = options(Trust::System);
    without_key.identity = Some(DeviceIdentity::new(self_signed("d").certificate, "".into()));
    let error = refused(&without_key);
    assert!(
        matches!(error, TransportSetupError::Identity(_)),
        "{error:?}"
    );
    let mut mismatched = options(Trust::System);
    mismatched.identity = Some(DeviceIdentity::new(
        self_signed("d").certificate,
        self_signed("e").key.into(),
    ));
    assert!(HttpTransport::new(&mismatched).is_err());
}
