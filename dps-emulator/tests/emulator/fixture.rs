//! An emulator, a plain HTTP client for it, and a PKI to try it with.

use aws_lc_rs::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dps_emulator::{Behavior, Choices, Emulator, EmulatorConfig, EmulatorHandle, Hub};
use pki_core::ids::HubHostName;
use pki_core::ports::Clock as _;
use pki_core::ports::system::SystemClock;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use reqwest::{Client, Identity, Method, RequestBuilder};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

/// A running emulator and a client without certificate.
pub(crate) struct World {
    pub(crate) emulator: EmulatorHandle,
    pub(crate) client: Client,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(crate) fn etag(&self) -> String {
        self.body["etag"].as_str().expect("an etag").to_owned()
    }
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(EmulatorConfig::default()).await
    }

    pub(crate) async fn with(config: EmulatorConfig) -> Self {
        let emulator = Emulator::start(config).await.expect("starts");
        let client = client(&emulator, None);
        Self { emulator, client }
    }

    /// A request that is signed with the service's own policy.
    pub(crate) async fn service(
        &self,
        method: Method,
        path: impl AsRef<str>,
        body: Value,
    ) -> Reply {
        self.service_if_match(method, path, body, None).await
    }

    pub(crate) async fn service_if_match(
        &self,
        method: Method,
        path: impl AsRef<str>,
        body: Value,
        if_match: Option<&str>,
    ) -> Reply {
        let request = self.signed_request(method, path.as_ref(), &body);
        send(with_if_match(request, if_match)).await
    }

    /// The same before it is sent.
    pub(crate) fn signed_request(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> RequestBuilder {
        let connection_string = self.emulator.service_connection_string();
        let token = token(connection_string.expose_secret(), 3600);
        let request = self.request(method, path, "2021-10-01", body);
        request.header("Authorization", token)
    }

    pub(crate) async fn management(
        &self,
        method: Method,
        path: impl AsRef<str>,
        body: Value,
        if_match: Option<&str>,
    ) -> Reply {
        let path = format!("{}{}", self.emulator.resource_id(), path.as_ref());
        let request = self.request(method, &path, "2022-12-12", &body);
        let request = request.header("Authorization", "Bearer anything");
        send(with_if_match(request, if_match)).await
    }

    pub(crate) async fn hub(
        &self,
        hub: &Hub,
        method: Method,
        path: impl AsRef<str>,
        body: Value,
    ) -> Reply {
        self.hub_if_match(hub, method, path, body, None).await
    }

    pub(crate) async fn hub_if_match(
        &self,
        hub: &Hub,
        method: Method,
        path: impl AsRef<str>,
        body: Value,
        if_match: Option<&str>,
    ) -> Reply {
        let token = token(hub.connection_string.expose_secret(), 3600);
        let request = self.request(method, path.as_ref(), "2021-04-12", &body);
        let request = request.header("Authorization", token);
        send(with_if_match(request, if_match)).await
    }

    /// A request with an `Authorization` of the caller's choice, or none.
    pub(crate) async fn raw(
        &self,
        method: Method,
        path: impl AsRef<str>,
        authorization: Option<&str>,
        body: Value,
    ) -> Reply {
        let mut request = self.request(method, path.as_ref(), "2021-10-01", &body);
        if let Some(authorization) = authorization {
            request = request.header("Authorization", authorization);
        }
        send(request).await
    }

    pub(crate) fn request(
        &self,
        method: Method,
        path: &str,
        version: &str,
        body: &Value,
    ) -> RequestBuilder {
        let separator = if path.contains('?') { '&' } else { '?' };
        let base = self.emulator.base_url();
        let url = format!("{base}{path}{separator}api-version={version}");
        let request = self.client.request(method, url);
        match body {
            Value::Null => request,
            body => request.json(body),
        }
    }

    /// The hub of this name.
    pub(crate) fn linked_hub(&self, name: &str) -> Hub {
        let name: HubHostName = name.parse().expect("name");
        let mut hubs = self.emulator.hubs().into_iter();
        hubs.find(|hub| hub.host_name == name).expect("linked")
    }

    /// Uploads a CA whose possession is attested, and makes a group for `signing`.
    pub(crate) async fn enroll_group(&self, name: &str, verified: &Authority, signing: &Authority) {
        let body = json!({"properties": {"certificate": verified.pem, "isVerified": true}});
        let uploaded = self.management(Method::PUT, format!("/certificates/{name}-ca"), body, None);
        assert_eq!(uploaded.await.status, 200);
        let put = self.service(
            Method::PUT,
            format!("/enrollmentGroups/{name}"),
            group(name, signing),
        );
        assert_eq!(put.await.status, 200);
    }

    /// Makes an individual enrollment for a device with this leaf, or tries to.
    pub(crate) async fn enroll(&self, id: &str, leaf: &Leaf) -> Reply {
        let path = format!("/enrollments/{id}");
        self.service(Method::PUT, path, individual(id, leaf)).await
    }

    /// Lets the emulator behave otherwise from now on.
    pub(crate) fn behave(&self, behavior: Behavior) {
        self.emulator.set_behavior(behavior).expect("a behavior");
    }

    /// A device that presents these certificates in its TLS session.
    pub(crate) fn device(&self, id: &str, leaf: &Leaf) -> Device<'_> {
        Device {
            world: self,
            client: client(&self.emulator, Some(leaf)),
            id: id.to_owned(),
            authorization: None,
        }
    }

    /// A device that signs with a shared key.
    pub(crate) fn keyed_device(&self, id: &str, key: &str) -> Device<'_> {
        let resource = format!("{}%2Fregistrations%2F{id}", self.emulator.id_scope());
        Device {
            world: self,
            client: self.client.clone(),
            id: id.to_owned(),
            authorization: Some(signed(&resource, key, 3600, Some("registration"))),
        }
    }
}

/// A device as Microsoft's SDKs behave over HTTPS.
pub(crate) struct Device<'a> {
    world: &'a World,
    client: Client,
    id: String,
    pub(crate) authorization: Option<String>,
}

impl Device<'_> {
    /// Sends `register` and nothing more.
    pub(crate) async fn knock(&self) -> Reply {
        let body = json!({"registrationId": self.id});
        self.send(Method::PUT, "/register", body).await
    }

    /// Registers and polls until it is over; `None` if it was refused at the door.
    pub(crate) async fn register(&self) -> Value {
        let reply = self.knock().await;
        assert_eq!(reply.status, 202, "{reply:?}");
        assert!(reply.header("retry-after").is_some());
        let operation_id = reply.body["operationId"].as_str().expect("an operation");
        loop {
            let reply = self.poll(operation_id).await;
            match reply.status {
                202 => assert_eq!(reply.body["registrationState"]["status"], "assigning"),
                200 => return reply.body,
                _ => panic!("{reply:?}"),
            }
        }
    }

    /// One poll, with the empty object as body that the Node SDK sends.
    pub(crate) async fn poll(&self, operation_id: &str) -> Reply {
        let path = format!("/operations/{operation_id}");
        self.send(Method::GET, &path, json!({})).await
    }

    pub(crate) async fn lookup(&self) -> Reply {
        self.send(Method::POST, "", json!({"registrationId": self.id}))
            .await
    }

    /// A request to a hub by its name, in the API version that IoT Edge speaks.
    pub(crate) async fn ask_hub(
        &self,
        hub: &str,
        method: Method,
        path: &str,
        body: Value,
        if_match: Option<&str>,
    ) -> Reply {
        let base = self.world.emulator.base_url();
        let url = format!("{base}{path}?api-version=2017-11-08-preview");
        let mut request = self.client.request(method, url).header("Host", hub);
        if !body.is_null() {
            request = request.json(&body);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        send(with_if_match(request, if_match)).await
    }

    /// A request for this device, below its registration.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Value) -> Reply {
        let base = self.world.emulator.base_url();
        let scope = self.world.emulator.id_scope();
        let id = self.id.replace(':', "%3A");
        let url = format!("{base}/{scope}/registrations/{id}{path}?api-version=2021-06-01");
        let mut request = self.client.request(method, url).json(&body);
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        send(request).await
    }
}

/// Holds a refusal of a hub against its status and its word for the error.
pub(crate) fn assert_hub_error(reply: &Reply, status: u16, name: &str) {
    assert_eq!(reply.status, status, "{reply:?}");
    assert_eq!(reply.header("iothub-errorcode"), Some(name));
    let message = reply.body["Message"].as_str().expect("a message");
    assert!(
        message.starts_with(&format!("ErrorCode:{name};")),
        "{message}"
    );
}

/// An emulator that chooses otherwise where nobody has seen what the real service does.
pub(crate) fn choosing(choices: Choices) -> EmulatorConfig {
    EmulatorConfig {
        behavior: Behavior {
            choices,
            ..Behavior::default()
        },
        ..EmulatorConfig::default()
    }
}

pub(crate) fn group(name: &str, signing: &Authority) -> Value {
    json!({
        "enrollmentGroupId": name,
        "attestation": {"type": "x509", "x509": {
            "signingCertificates": {"primary": {"certificate": signing.pem}},
        }},
    })
}

pub(crate) fn individual(id: &str, leaf: &Leaf) -> Value {
    json!({
        "registrationId": id,
        "attestation": {"type": "x509", "x509": {
            "clientCertificates": {"primary": {"certificate": leaf.pem}},
        }},
    })
}

fn client(emulator: &EmulatorHandle, leaf: Option<&Leaf>) -> Client {
    let anchor = reqwest::Certificate::from_pem(emulator.trust_anchor_pem().as_bytes());
    let builder = Client::builder()
        .tls_certs_only([anchor.expect("an anchor")])
        .no_proxy();
    let builder = match leaf {
        Some(leaf) => builder.identity(leaf.identity()),
        None => builder,
    };
    builder.build().expect("a client")
}

pub(crate) fn with_if_match(request: RequestBuilder, if_match: Option<&str>) -> RequestBuilder {
    match if_match {
        Some(etag) => request.header("If-Match", etag),
        None => request,
    }
}

pub(crate) async fn send(request: RequestBuilder) -> Reply {
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let text = response.text().await.expect("a body");
    let body = match text.as_str() {
        "" => Value::Null,
        text => {
            let kind = headers.get("content-type").expect("a content type");
            assert_eq!(kind, "application/json; charset=utf-8");
            serde_json::from_str(text).expect("JSON")
        }
    };
    Reply {
        status,
        headers,
        body,
    }
}

/// A token for the host of a connection string.
pub(crate) fn token(connection_string: &str, seconds: i64) -> String {
    let member = |name: &str| {
        let mut pairs = connection_string.split(';');
        pairs
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
            .expect("a member")
    };
    let host = member("HostName").replace(':', "%3A");
    let policy = member("SharedAccessKeyName");
    signed(&host, member("SharedAccessKey"), seconds, Some(policy))
}

/// A token over a resource as it stands, good for so many seconds from now on.
pub(crate) fn signed(resource: &str, key: &str, seconds: i64, policy: Option<&str>) -> String {
    let expiry = SystemClock.now().unix_seconds() + seconds;
    let key = STANDARD.decode(key).expect("base64");
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let tag = STANDARD.encode(hmac::sign(&key, format!("{resource}\n{expiry}").as_bytes()));
    let signature = tag
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D");
    let policy = policy.map_or_else(String::new, |policy| format!("&skn={policy}"));
    format!("SharedAccessSignature sr={resource}&sig={signature}&se={expiry}{policy}")
}

/// The key of one device of a group.
pub(crate) fn derived(group_key: &str, id: &str) -> String {
    let key = STANDARD.decode(group_key).expect("base64");
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    STANDARD.encode(hmac::sign(&key, id.as_bytes()))
}

/// A CA that signs.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
    pub(crate) der: Vec<u8>,
}

/// A device's key and certificates: the leaf, then what it sends along.
pub(crate) struct Leaf {
    pub(crate) key: String,
    pub(crate) pem: String,
    pub(crate) der: Vec<u8>,
    sent: String,
}

impl Authority {
    pub(crate) fn root(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let params = ca(name);
        let certificate = params.self_signed(&key).expect("signed");
        Self::new(params, key, &certificate)
    }

    pub(crate) fn intermediate(&self, name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let params = ca(name);
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        Self::new(params, key, &certificate)
    }

    fn new(params: CertificateParams, key: KeyPair, certificate: &rcgen::Certificate) -> Self {
        Self {
            issuer: Issuer::new(params, key),
            pem: certificate.pem(),
            der: certificate.der().to_vec(),
        }
    }

    /// A leaf that is sent along with these CA certificates.
    pub(crate) fn leaf(&self, common_name: &str, sent: &[&Self]) -> Leaf {
        self.leaf_with(common_name, sent, |_| {})
    }

    /// A leaf with something changed.
    pub(crate) fn leaf_with(
        &self,
        common_name: &str,
        sent: &[&Self],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Leaf {
        let key = KeyPair::generate().expect("a key");
        let mut params = named(common_name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        Leaf {
            key: key.serialize_pem(),
            pem: certificate.pem(),
            der: certificate.der().to_vec(),
            sent: sent
                .iter()
                .map(|authority| authority.pem.as_str())
                .collect(),
        }
    }
}

impl Leaf {
    /// The leaf and what it sends along.
    pub(crate) fn chain_pem(&self) -> String {
        format!("{}{}", self.pem, self.sent)
    }

    /// The same leaf, sent along with other certificates.
    pub(crate) fn sending(&self, sent: &[&Authority]) -> Self {
        Self {
            key: self.key.clone(),
            pem: self.pem.clone(),
            der: self.der.clone(),
            sent: sent
                .iter()
                .map(|authority| authority.pem.as_str())
                .collect(),
        }
    }

    pub(crate) fn sha256(&self) -> String {
        thumbprint(&SHA256, &self.der)
    }

    pub(crate) fn sha1(&self) -> String {
        thumbprint(&SHA1_FOR_LEGACY_USE_ONLY, &self.der)
    }

    fn identity(&self) -> Identity {
        let bundle = format!("{}{}{}", self.key, self.pem, self.sent);
        Identity::from_pem(bundle.as_bytes()).expect("an identity")
    }
}

fn thumbprint(algorithm: &'static Algorithm, der: &[u8]) -> String {
    let octets = digest(algorithm, der);
    let octets = octets.as_ref().iter();
    octets.map(|octet| format!("{octet:02X}")).collect()
}

fn named(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params
}

fn ca(common_name: &str) -> CertificateParams {
    let mut params = named(common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params
}
