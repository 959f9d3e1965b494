//! CA certificates and the proof of possession, over the management plane.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::date_time_ymd;
use reqwest::Method;
use serde_json::{Value, json};

use crate::fixture::{Authority, Leaf, Reply, World};

const CA: &str = "/certificates/root";

async fn upload(world: &World, authority: &Authority, if_match: Option<&str>) -> Reply {
    let body = json!({"properties": {"certificate": authority.pem}});
    world.management(Method::PUT, CA, body, if_match).await
}

async fn code(world: &World, if_match: &str) -> Reply {
    let path = format!("{CA}/generateVerificationCode");
    world
        .management(Method::POST, path, Value::Null, Some(if_match))
        .await
}

async fn prove(world: &World, proof: &Leaf, if_match: &str) -> Reply {
    let body = json!({"certificate": proof.pem});
    world
        .management(Method::POST, format!("{CA}/verify"), body, Some(if_match))
        .await
}

fn code_in(reply: &Reply) -> String {
    let code = reply.body["properties"]["verificationCode"].as_str();
    code.expect("a code").to_owned()
}

/// Upload, code, proof: each step changes the ETag, and the next one takes it.
#[tokio::test]
async fn possession_is_proven_by_a_certificate_that_names_the_code() {
    let world = World::start().await;
    let root = Authority::root("Root");
    let uploaded = upload(&world, &root, None).await;
    assert_eq!(uploaded.body["properties"]["isVerified"], false);
    let coded = code(&world, &uploaded.etag()).await;
    let name = code_in(&coded);
    assert!(
        name.len() == 48 && name.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{name}"
    );
    assert_ne!(uploaded.etag(), coded.etag());

    let proof = root.leaf(&name, &[]);
    let verified = prove(&world, &proof, &coded.etag()).await;
    assert_eq!(verified.status, 200, "{verified:?}");
    assert_eq!(verified.body["properties"]["isVerified"], true);
    assert_ne!(coded.etag(), verified.etag());

    let again = prove(&world, &proof, &verified.etag()).await;
    assert_eq!((again.status, &again.body["code"]), (400, &json!(400_053)));
}

/// Each proof differs from a good one in one thing.
#[tokio::test]
async fn a_proof_with_one_thing_wrong_is_none() {
    let world = World::start().await;
    let root = Authority::root("Root");
    let namesake = Authority::root("Root");
    let uploaded = upload(&world, &root, None).await;
    let coded = code(&world, &uploaded.etag()).await;
    let name = code_in(&coded);
    let etag = coded.etag();
    let expired = root.leaf_with(&name, &[], |params| {
        params.not_after = date_time_ymd(2020, 1, 1)
    });
    for (case, proof, message) in [
        ("CN", root.leaf("another", &[]), "verification code"),
        (
            "issuer",
            Authority::root("Other").leaf(&name, &[]),
            "Issuer certificate 'CN=Other' cannot be found",
        ),
        (
            "key",
            namesake.leaf(&name, &[]),
            "cannot be found in the certificate chain",
        ),
        ("dates", expired, "not valid"),
    ] {
        let reply = prove(&world, &proof, &etag).await;
        assert_eq!(
            (reply.status, &reply.body["code"]),
            (400, &json!(400_053)),
            "{case}"
        );
        let text = reply.body["message"].as_str().expect("text");
        assert!(
            text.contains(message) && text.ends_with("IH400053."),
            "{case}: {text}"
        );
    }
    let good = root.leaf(&name, &[]);
    assert_eq!(prove(&world, &good, &etag).await.status, 200);
}

#[tokio::test]
async fn every_step_takes_the_etag_of_the_one_before() {
    let world = World::start().await;
    let root = Authority::root("Root");
    let first = upload(&world, &root, None).await.etag();
    let coded = code(&world, &first).await;
    let proof = root.leaf(&code_in(&coded), &[]);
    for stale in [
        code(&world, &first).await,
        prove(&world, &proof, &first).await,
        upload(&world, &root, Some(&first)).await,
        upload(&world, &root, None).await,
        world
            .management(Method::DELETE, CA, Value::Null, Some(&first))
            .await,
    ] {
        assert_eq!(
            (stale.status, &stale.body["code"]),
            (412, &json!(412_001)),
            "{stale:?}"
        );
    }
    for path in ["/generateVerificationCode", "/verify"] {
        let body = json!({"certificate": proof.pem});
        let reply = world
            .management(Method::POST, format!("{CA}{path}"), body, None)
            .await;
        assert_eq!(reply.status, 400, "If-Match is required");
    }
    let quoted = format!("\"{}\"", coded.etag());
    assert_eq!(prove(&world, &proof, &quoted).await.status, 200);
    assert_eq!(code(&world, "\"*\"").await.status, 200);
    assert_eq!(
        world
            .management(Method::DELETE, CA, Value::Null, Some("*"))
            .await
            .status,
        200
    );
    assert_eq!(
        world
            .management(Method::GET, CA, Value::Null, None)
            .await
            .status,
        404
    );
}

/// Otherwise one proof would vouch for whatever is put in its place.
#[tokio::test]
async fn a_different_certificate_is_not_verified_by_the_proof_of_another() {
    let world = World::start().await;
    let [one, two] = ["One", "Two"].map(Authority::root);
    let coded = code(&world, &upload(&world, &one, None).await.etag()).await;
    let verified = prove(&world, &one.leaf(&code_in(&coded), &[]), &coded.etag()).await;
    let same = upload(&world, &one, Some(&verified.etag())).await;
    assert_eq!(same.body["properties"]["isVerified"], true);
    let other = upload(&world, &two, Some(&same.etag())).await;
    assert_eq!(other.body["properties"]["isVerified"], false);
}

/// Both body shapes, and the five forms of a certificate that clients send.
#[tokio::test]
async fn certificates_are_read_in_every_form_that_clients_send() {
    let world = World::start().await;
    let root = Authority::root("Root");
    let der = STANDARD.encode(&root.der);
    let pem = STANDARD.encode(&root.pem);
    let broken = |text: &str| {
        let lines: Vec<&[u8]> = text.as_bytes().chunks(76).collect();
        String::from_utf8(lines.join(&b"\r\n"[..])).expect("ASCII")
    };
    let forms = [
        root.pem.clone(),
        der.clone(),
        pem.clone(),
        broken(&der),
        broken(&pem),
    ];
    for (index, form) in forms.iter().enumerate() {
        for (shape, body) in [
            ("flat", json!({"certificate": form, "isVerified": true})),
            (
                "nested",
                json!({"properties": {"certificate": form, "isVerified": true}}),
            ),
        ] {
            let path = format!("/certificates/{shape}-{index}");
            let reply = world.management(Method::PUT, path, body, None).await;
            assert_eq!(reply.status, 200, "{shape} {index}: {reply:?}");
            assert_eq!(reply.body["properties"]["isVerified"], true);
        }
    }
    let list = world
        .management(Method::GET, "/certificates", Value::Null, None)
        .await;
    assert_eq!(list.body["value"].as_array().expect("a list").len(), 10);
    let garbage = json!({"properties": {"certificate": "bm90IGEgY2VydGlmaWNhdGU="}});
    let reply = world
        .management(Method::PUT, "/certificates/bad", garbage, None)
        .await;
    assert_eq!((reply.status, &reply.body["code"]), (400, &json!(400_004)));
}

/// ARM writes RFC 1123 dates and SHA-1 thumbprints; paths compare without case.
#[tokio::test]
async fn a_certificate_is_shown_as_arm_does() {
    let world = World::start().await;
    let root = Authority::root("Root");
    upload(&world, &root, None).await;
    let reply = world
        .management(Method::GET, "/CERTIFICATES/ROOT/", Value::Null, None)
        .await;
    let properties = &reply.body["properties"];
    assert_eq!(properties["subject"], "Root");
    assert_eq!(properties["thumbprint"].as_str().map(str::len), Some(40));
    for date in ["expiry", "created", "updated"] {
        assert!(properties[date].as_str().expect(date).ends_with(" GMT"));
    }
    let id = format!("{}{CA}", world.emulator.resource_id());
    assert_eq!(reply.body["id"], json!(id));
}

#[tokio::test]
async fn the_service_is_described_as_arm_does() {
    let world = World::start().await;
    let service = world
        .management(Method::GET, "", Value::Null, None)
        .await
        .body;
    let scope = world.emulator.id_scope().to_string();
    assert_eq!(service["properties"]["idScope"], json!(scope));
    assert_eq!(service["properties"]["allocationPolicy"], "Hashed");
    let keys = world
        .management(Method::POST, "/listkeys", Value::Null, None)
        .await
        .body;
    let owner = "/keys/provisioningserviceowner/listkeys";
    let key = world
        .management(Method::POST, owner, Value::Null, None)
        .await
        .body;
    assert_eq!(keys["value"][0], key);
    let connection_string = world.emulator.service_connection_string();
    let primary = key["primaryKey"].as_str().expect("a key");
    assert!(secrecy::ExposeSecret::expose_secret(&connection_string).ends_with(primary));
}

#[tokio::test]
async fn arm_refuses_in_its_own_nested_shape() {
    let world = World::start().await;
    let path = world.emulator.resource_id();
    let reply = world.raw(Method::GET, &path, None, Value::Null).await;
    assert_eq!(
        (reply.status, &reply.body["error"]["code"]),
        (401, &json!("AuthenticationFailed"))
    );
    let elsewhere = path.replace("emulator", "other");
    let reply = world
        .raw(Method::GET, elsewhere, Some("Bearer x"), Value::Null)
        .await;
    assert_eq!(
        (reply.status, &reply.body["error"]["code"]),
        (404, &json!("ResourceNotFound"))
    );
}
