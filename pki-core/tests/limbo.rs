//! x509-limbo judges path validation. `DPS_PKI_LIMBO` names its `limbo.json`; without it, these
//! tests say so and judge nothing.
//!
//! Its *core* are the cases of RFC 5280, path lengths and pathological chains. Cases of the public web
//! (`webpki`, `online`) are about host names and CA/Browser rules: they only must not take long.
//! `fixtures/limbo-exceptions.toml` lists every other case that is answered differently, and why.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "the suite is a file, and time is measured"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pki_core::certificate::{Certificate, pem};
use pki_core::crl::Crl;
use pki_core::path::{PathOptions, Purpose, validate};
use pki_core::time::Time;
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

use crate::precedent::{Case, covered};
use crate::skip::skip_collection;

const EXCEPTIONS: &str = include_str!("../../fixtures/limbo-exceptions.toml");

/// What the suite expects of a case, and what it got.
struct Answer {
    id: String,
    accepted: bool,
    wanted: bool,
    reason: String,
    took: Duration,
}

impl Answer {
    fn group(&self) -> &str {
        self.id.split("::").next().unwrap_or_default()
    }

    fn is_core(&self) -> bool {
        matches!(self.group(), "rfc5280" | "pathlen" | "pathological")
    }

    fn is_judged(&self) -> bool {
        !matches!(self.group(), "webpki" | "online")
    }

    fn is_right(&self) -> bool {
        self.accepted == self.wanted
    }
}

#[test]
fn the_core_is_answered_as_expected_but_for_known_exceptions() {
    let Some(answers) = answers() else {
        return;
    };
    let exceptions: BTreeMap<String, String> = toml::from_str(EXCEPTIONS).expect("exceptions");
    let judged = answers.iter().filter(|answer| answer.is_judged());
    let wrong: BTreeMap<&str, &Answer> = judged
        .filter(|answer| !answer.is_right())
        .map(|answer| (answer.id.as_str(), answer))
        .collect();
    let unknown: Vec<String> = wrong
        .iter()
        .filter(|(id, _)| !exceptions.contains_key(**id))
        .map(|(id, answer)| format!("{id}: accepted {}: {}", answer.accepted, answer.reason))
        .collect();
    assert!(
        unknown.is_empty(),
        "not in limbo-exceptions.toml: {unknown:#?}"
    );
    let stale: BTreeSet<&String> = exceptions
        .keys()
        .filter(|id| !wrong.contains_key(id.as_str()))
        .collect();
    assert!(stale.is_empty(), "no exceptions any more: {stale:#?}");

    let core: Vec<&Answer> = answers.iter().filter(|answer| answer.is_core()).collect();
    let right = core.iter().filter(|answer| answer.is_right()).count();
    let false_accepts = core
        .iter()
        .filter(|answer| answer.accepted && !answer.wanted);
    let false_accepts = false_accepts.count();
    println!(
        "core: {right} of {}, {false_accepts} false accepts",
        core.len()
    );
    assert!(
        right >= 122 && false_accepts <= 1,
        "{right} right, {false_accepts} false accepts"
    );
}

#[test]
fn no_case_takes_long() {
    let answers = answers().unwrap_or_default();
    let slow = answers.iter().max_by_key(|answer| answer.took);
    if let Some(slow) = slow {
        println!("slowest: {} in {:?}", slow.id, slow.took);
        assert!(
            slow.took < Duration::from_secs(1),
            "{} took {:?}",
            slow.id,
            slow.took
        );
    }
}

/// Whatever a precedent covers, among the suite's leaves and chains, OpenSSL lets pass.
#[test]
fn what_one_leaf_says_of_another_is_what_openssl_says() {
    let Some(cases) = cases() else {
        return;
    };
    let at: Time = "2026-06-01T00:00:00Z".parse().expect("time");
    for purpose in [Purpose::Client, Purpose::Server] {
        let options = PathOptions::new(at).purpose(purpose).lenient().weak();
        let cases: Vec<Case> = cases.iter().filter_map(|case| read(case).ok()).collect();
        let count = covered(&cases, options, at);
        println!("{count} of {} leaves are covered", cases.len());
        assert!(count > 0);
    }
}

fn answers() -> Option<Vec<Answer>> {
    Some(cases()?.iter().map(answer).collect())
}

fn cases() -> Option<Vec<Value>> {
    let Some(path) = std::env::var_os("DPS_PKI_LIMBO") else {
        skip_collection("x509-limbo (DPS_PKI_LIMBO names no limbo.json)");
        return None;
    };
    let suite: Value = serde_json::from_slice(&std::fs::read(path).expect("limbo")).expect("limbo");
    Some(suite["testcases"].as_array().expect("cases").clone())
}

fn read(case: &Value) -> Result<Case, String> {
    let leaf = case["peer_certificate"].as_str().unwrap_or_default();
    Ok(Case {
        leaf: pem::certificate(leaf.as_bytes()).map_err(|error| error.to_string())?,
        intermediates: certificates(&case["untrusted_intermediates"])?,
        anchors: certificates(&case["trusted_certs"])?,
    })
}

fn answer(case: &Value) -> Answer {
    let begun = processor_time();
    let judged = judge(case);
    Answer {
        id: case["id"].as_str().expect("id").to_owned(),
        accepted: judged.is_ok(),
        wanted: case["expected_result"] == "SUCCESS",
        reason: judged.err().unwrap_or_default(),
        took: processor_time() - begun,
    }
}

/// What this thread has taken so far: on a busy machine that says more than a clock.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("a time that has passed")
}

fn judge(case: &Value) -> Result<(), String> {
    let Case {
        leaf,
        intermediates,
        anchors,
    } = read(case)?;
    let crls = texts(&case["crls"]).map(|text| {
        let block = pki_core::pem::blocks(text.as_bytes()).map_err(|error| error.to_string())?;
        let block = block
            .and_then(|blocks| blocks.into_iter().next())
            .ok_or("no CRL")?;
        Crl::from_der(&block.der).map_err(|error| error.to_string())
    });
    let crls = crls.collect::<Result<Vec<_>, String>>()?;
    let at: Time = match case["validation_time"].as_str() {
        Some(time) => time.parse().expect("time"),
        None => "2026-06-01T00:00:00Z".parse().expect("time"),
    };
    let purpose = match case["validation_kind"].as_str() {
        Some("CLIENT") => Purpose::Client,
        _ => Purpose::Server,
    };
    let mut options = PathOptions::new(at).purpose(purpose).crls(&crls);
    if let Some(most) = most_intermediates(case) {
        options = options.most_intermediates(most);
    }
    let report = validate(&leaf, &intermediates, &anchors, options);
    report.failure.map_or(Ok(()), |failure| {
        Err(format!(
            "{} at {}: {}",
            failure.check, failure.depth, failure.reason
        ))
    })
}

fn most_intermediates(case: &Value) -> Option<u8> {
    let most = case["max_chain_depth"].as_u64()?;
    Some(u8::try_from(most).expect("depth"))
}

fn certificates(list: &Value) -> Result<Vec<Certificate>, String> {
    let mut found = Vec::new();
    for text in texts(list) {
        found.extend(pem::certificates(text.as_bytes()).map_err(|error| error.to_string())?);
    }
    Ok(found)
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(Value::as_str)
}
