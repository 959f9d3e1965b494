//! What the command line says of a plan to which something happens, and that what it says leads on: the exit
//! code, how far the plan got, the command that resumes it. That every operation survives a death at every
//! moment and a fault at every write is for `dps-operations/tests/killed.rs`.

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

    fn moments(&self) -> usize {
        self.0.lock().expect("lock").moments
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

const COMMAND: &str = "quarantine sensor-1 sensor-2 --reason stolen --yes";

/// A site to which [`COMMAND`] can be done: one device has registered, and one has not.
fn beginning() -> Site {
    let site = Site::new();
    assert_eq!(site.register("sensor-1"), "assigned");
    site
}

/// The same site again, with this fate.
fn told(beginning: &Site, fate: &Fate) -> Site {
    beginning.copy(Arc::new(fate.clone()), Arc::new(fate.clone()))
}

/// Goes on as a person would: with the plan that is open, and else by saying the same again.
fn go_on(site: &Site) {
    for plan in list(&site.json("journal list --open")) {
        let id = plan["plan"].as_str().expect("an ID");
        site.done(&format!("journal resume {id} --yes"));
    }
    site.done(COMMAND);
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

/// An uninterrupted run: where it leads, and how many moments it has.
fn uninterrupted(beginning: &Site) -> (Value, usize) {
    let fate = Fate::new();
    let site = told(beginning, &fate);
    fate.set(Mishap::Nothing);
    site.done(COMMAND);
    let moments = fate.moments();
    (state(&site), moments)
}

#[test]
fn a_run_that_dies_leaves_a_plan_that_is_resumed() {
    let beginning = beginning();
    let (end, moments) = uninterrupted(&beginning);
    let mut open = 0;
    for moment in (1..=moments).step_by(moments / 5) {
        let fate = Fate::new();
        let site = told(&beginning, &fate);
        fate.set(Mishap::Death(moment));
        let run = site.run(COMMAND);
        assert_eq!(run.code, 70, "moment {moment}: {}", run.stderr);
        fate.set(Mishap::Nothing);
        open += list(&site.json("journal list --open")).len();
        go_on(&site);
        assert_eq!(state(&site), end, "dead at moment {moment}");
        site.done("audit verify");
    }
    assert!(open > 0, "some of them left a plan behind");
}

/// The second write is within the plan: something is done, and something is left.
#[test]
fn a_fault_within_a_plan_has_its_exit_code_and_names_the_plan_to_resume() {
    const WRITE: usize = 2;
    let beginning = beginning();
    let (end, _) = uninterrupted(&beginning);
    for fault in Fault::ALL {
        for lasts in fault.may_last() {
            let fate = Fate::new();
            let site = told(&beginning, &fate);
            fate.set(Mishap::Fault(WRITE, fault, *lasts));
            let run = site.run(COMMAND);
            let what = format!("{fault:?}, {lasts:?}: {}", run.stderr);
            let codes = fault.exit_codes(*lasts);
            assert!(codes.contains(&run.code), "{}: {what}", run.code);
            fate.set(Mishap::Nothing);
            if run.code == 0 {
                assert_eq!(state(&site), end, "{what}");
            }
            for plan in list(&site.json("journal list --open")) {
                let id = plan["plan"].as_str().expect("an ID");
                let said = format!("{} of {} steps ", plan["done"], plan["steps"]);
                run.stderr_has(&said);
                run.stderr_has(id);
            }
            go_on(&site);
            assert_eq!(state(&site), end, "{what}");
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
