//! Plans to which something happens: the process dies at any moment, or the service fails at any step.
//! Whatever it was, going on leads to where an uninterrupted run leads.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::panic;
use std::sync::{Arc, Mutex};

use crate::support::now;
use crate::support::site::Site;
use dps_client::transport::{
    HttpOptions, HttpTransport, Request, Response, Transport, TransportError, TransportSetupError,
};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{HeaderMap, Method, StatusCode};
use pki_cli::host::Network;
use pki_core::ports::Clock;
use pki_core::time::Time;
use serde_json::{Value, json};

/// What happens to a run.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mishap {
    Nothing,
    /// The process dies at this moment: when it looks at the clock, is about to send a request, or is
    /// about to receive an answer.
    Death(usize),
    /// The service fails at this write; from then on, or this once.
    Fault(usize, Fault, Lasts),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// It answers so, and does nothing.
    Status(u16),
    /// The connection breaks before the service has seen the request.
    ResetBefore,
    /// The connection breaks when the service has acted on it.
    ResetAfter,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Lasts {
    Once,
    ForEver,
}

/// The clock and the network of a run, and what happens to it.
#[derive(Clone)]
struct Fate(Arc<Mutex<State>>);

struct State {
    mishap: Mishap,
    /// How many moments of dying there were.
    moments: usize,
    /// How many writes there were.
    writes: usize,
}

impl Fate {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            mishap: Mishap::Nothing,
            moments: 0,
            writes: 0,
        })))
    }

    /// Counts anew, to this end.
    fn set(&self, mishap: Mishap) {
        *self.0.lock().expect("lock") = State {
            mishap,
            moments: 0,
            writes: 0,
        };
    }

    fn counted(&self) -> (usize, usize) {
        let state = self.0.lock().expect("lock");
        (state.moments, state.writes)
    }

    fn live_through_a_moment(&self) {
        let mut state = self.0.lock().expect("lock");
        state.moments += 1;
        let dies = state.mishap == Mishap::Death(state.moments);
        // The lock is not poisoned: others may look at what was counted.
        drop(state);
        if dies {
            // Without the words that a failing test would have.
            panic::resume_unwind(Box::new("the process dies here"));
        }
    }

    /// What happens to a request.
    fn fault(&self, request: &Request) -> Option<Fault> {
        let is_query = request.url.path().ends_with("/query");
        if request.method == Method::GET || is_query {
            return None;
        }
        let mut state = self.0.lock().expect("lock");
        state.writes += 1;
        match state.mishap {
            Mishap::Fault(at, fault, Lasts::Once) if state.writes == at => Some(fault),
            Mishap::Fault(at, fault, Lasts::ForEver) if state.writes >= at => Some(fault),
            _ => None,
        }
    }
}

impl Clock for Fate {
    fn now(&self) -> Time {
        self.live_through_a_moment();
        now()
    }
}

impl Network for Fate {
    fn transport(&self, options: &HttpOptions) -> Result<Arc<dyn Transport>, TransportSetupError> {
        Ok(Arc::new(FatefulTransport {
            fate: self.clone(),
            real: HttpTransport::new(options)?,
        }))
    }
}

struct FatefulTransport {
    fate: Fate,
    real: HttpTransport,
}

impl Transport for FatefulTransport {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>> {
        async move {
            self.fate.live_through_a_moment();
            let answer = match self.fate.fault(&request) {
                None => self.real.send(request).await,
                Some(Fault::Status(status)) => Ok(refusal(status)),
                Some(Fault::ResetBefore) => Err(reset()),
                Some(Fault::ResetAfter) => self.real.send(request).await.and(Err(reset())),
            };
            self.fate.live_through_a_moment();
            answer
        }
        .boxed()
    }
}

/// An answer that says to come back at once, if at all.
fn refusal(status: u16) -> Response {
    let headers = [("retry-after", "0"), ("content-type", "application/json")];
    let headers = headers.map(|(name, value)| {
        let name: http::HeaderName = name.parse().expect("a name");
        (name, value.parse().expect("a value"))
    });
    let code = u32::from(status) * 1000;
    Response {
        status: StatusCode::from_u16(status).expect("a status"),
        headers: HeaderMap::from_iter(headers),
        body: json!({"errorCode": code, "trackingId": "1", "message": "bad luck"})
            .to_string()
            .into_bytes(),
    }
}

fn reset() -> TransportError {
    TransportError::Interrupted {
        host: "localhost".to_owned(),
        source: "connection reset by peer".into(),
    }
}

/// A command that changes much, and the site that it is run at.
struct Story {
    site: Site,
    command: &'static str,
}

impl Story {
    /// CA certificate, proof and group, from nothing.
    fn apply() -> Self {
        Self {
            site: Site::empty(),
            command: "apply --yes",
        }
    }

    /// One device that has registered, and one that has not.
    fn quarantine() -> Self {
        let site = Site::new();
        assert_eq!(site.register("sensor-1"), "assigned");
        Self {
            site,
            command: "quarantine sensor-1 sensor-2 --reason stolen --yes",
        }
    }

    /// The group and the CA certificate are declared no more.
    fn prune() -> Self {
        let site = Site::new();
        let declaration = site.world.read("pki.toml");
        let kept = declaration.split("[dps.local.ca.root]").next();
        site.world.write("pki.toml", kept.expect("its beginning"));
        Self {
            site,
            command: "apply --prune --yes",
        }
    }

    /// A new root beside the old one.
    fn roll_of_root() -> Self {
        let site = Site::new();
        site.done("authority create root --next");
        Self {
            site,
            command: "roll start root --yes",
        }
    }

    /// The old root goes, what stands below it is verified itself.
    fn end_of_root() -> Self {
        let site = Self::roll_of_root().site;
        site.done("roll start root --yes");
        Self {
            site,
            command: "roll finish root --with-intermediates --yes",
        }
    }

    /// An intermediate is replaced at once, and its devices leave their hubs.
    fn breach_of_factory() -> Self {
        let site = Site::new();
        assert_eq!(site.register("sensor-1"), "assigned");
        site.done("authority create factory --next");
        Self {
            site,
            command: "roll start factory --compromised --yes",
        }
    }

    /// A device that was shut out has a new leaf.
    fn readmission() -> Self {
        let site = Self::quarantine().site;
        site.done("quarantine sensor-1 --yes");
        site.done("renew sensor-1 --out renewed");
        Self {
            site,
            command: "readmit sensor-1 --cert renewed/sensor-1.cert.pem --yes",
        }
    }

    fn deprovisioning() -> Self {
        Self {
            site: Self::quarantine().site,
            command: "deprovision --group factory --yes",
        }
    }

    /// The same story again, from its beginning, with this fate.
    fn told(&self, fate: &Fate) -> Site {
        self.site
            .copy(Arc::new(fate.clone()), Arc::new(fate.clone()))
    }
}

/// Goes on as a person would: with the plan that is open, and else by saying the same again.
fn go_on(site: &Site, story: &Story) {
    for plan in list(&site.json("journal list --open")) {
        let id = plan["plan"].as_str().expect("an ID");
        site.done(&format!("journal resume {id} --yes"));
    }
    site.done(story.command);
    assert_eq!(site.json("journal list --open"), json!([]));
}

/// What DPS, hubs and inventory hold; without what differs from run to run.
fn state(site: &Site) -> Value {
    let mut dump = serde_json::to_value(site.emulator.dump()).expect("a dump");
    forget(&mut dump, &["etag", "generationId"]);
    let mut certificates = site.json("inventory list --limit 1000");
    // Of proofs there is one for each time that the way led past them.
    if let Value::Array(entries) = &mut certificates {
        entries.retain(|entry| entry["role"] != "verification");
    }
    let authorities = site.json("authority list");
    json!({"dps": dump, "certificates": certificates, "authorities": authorities})
}

fn forget(value: &mut Value, names: &[&str]) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| !names.contains(&name.as_str()));
            members
                .values_mut()
                .for_each(|member| forget(member, names));
        }
        Value::Array(entries) => entries.iter_mut().for_each(|entry| forget(entry, names)),
        _ => {}
    }
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().expect("a list").clone()
}

/// An uninterrupted run: where it leads, and how many moments and writes it has.
fn uninterrupted(story: &Story) -> (Value, usize, usize) {
    let fate = Fate::new();
    let site = story.told(&fate);
    let before = state(&site);
    fate.set(Mishap::Nothing);
    site.done(story.command);
    let (moments, writes) = fate.counted();
    let end = state(&site);
    assert_ne!(before, end, "it changes something");
    (end, moments, writes)
}

/// The process dies at each moment in turn.
fn survives_every_death(story: &Story) {
    let (end, moments, _) = uninterrupted(story);
    let mut open = 0;
    for moment in 1..=moments {
        let fate = Fate::new();
        let site = story.told(&fate);
        fate.set(Mishap::Death(moment));
        let run = site.run(story.command);
        assert_eq!(run.code, 70, "moment {moment}: {}", run.stderr);
        fate.set(Mishap::Nothing);
        open += list(&site.json("journal list --open")).len();
        go_on(&site, story);
        assert_eq!(state(&site), end, "dead at moment {moment}");
        site.done("audit verify");
    }
    assert!(open > 0, "some of them left a plan behind");
}

/// The service fails at each write in turn.
fn survives_every_fault(story: &Story) {
    let (end, _, writes) = uninterrupted(story);
    for write in 1..=writes {
        for fault in Fault::ALL {
            for lasts in fault.may_last() {
                let fate = Fate::new();
                let site = story.told(&fate);
                fate.set(Mishap::Fault(write, fault, *lasts));
                let run = site.run(story.command);
                let what = format!("write {write}: {fault:?}, {lasts:?}: {}", run.stderr);
                let codes = fault.exit_codes(*lasts);
                assert!(codes.contains(&run.code), "{}: {what}", run.code);
                fate.set(Mishap::Nothing);
                if run.code == 0 {
                    assert_eq!(state(&site), end, "{what}");
                }
                for plan in list(&site.json("journal list --open")) {
                    let id = plan["plan"].as_str().expect("an ID");
                    let said = format!("{} of {} steps ", plan["done"], plan["steps"]);
                    assert!(run.stderr.contains(&said), "{what}");
                    assert!(run.stderr.contains(id), "{what}");
                }
                go_on(&site, story);
                assert_eq!(state(&site), end, "{what}");
            }
        }
    }
}

impl Fault {
    const ALL: [Self; 9] = [
        Self::Status(401),
        Self::Status(403),
        Self::Status(404),
        Self::Status(409),
        Self::Status(412),
        Self::Status(429),
        Self::Status(500),
        Self::ResetBefore,
        Self::ResetAfter,
    ];

    /// What a run may end with: done after all, DPS failed, conflict, a part failed, gone.
    fn exit_codes(self, lasts: Lasts) -> &'static [u8] {
        match (self, lasts) {
            // What is found then may be as it should be, and is sent again.
            (Self::Status(404 | 409 | 412), Lasts::Once) => &[0, 6, 7, 8],
            (Self::Status(404 | 409 | 412), Lasts::ForEver) => &[6, 7, 8],
            (Self::Status(429 | 500) | Self::ResetBefore | Self::ResetAfter, Lasts::Once) => &[0],
            (_, _) => &[5],
        }
    }

    fn may_last(self) -> &'static [Lasts] {
        match self {
            // The client waits for longer each time.
            Self::ResetBefore | Self::ResetAfter => &[Lasts::Once],
            // Nobody asks twice.
            Self::Status(401 | 403) => &[Lasts::ForEver],
            Self::Status(_) => &[Lasts::Once, Lasts::ForEver],
        }
    }
}

/// Both tests of a story.
macro_rules! survives {
    ($($story:ident),+) => {$(
        mod $story {
            #[test]
            fn every_death() {
                super::survives_every_death(&super::Story::$story());
            }

            #[test]
            fn every_fault() {
                super::survives_every_fault(&super::Story::$story());
            }
        }
    )+};
}

survives!(
    apply,
    quarantine,
    prune,
    roll_of_root,
    end_of_root,
    breach_of_factory,
    readmission,
    deprovisioning
);
