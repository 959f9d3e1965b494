//! An emulator that is killed: whatever was answered is there when its state is opened again.
//!
//! The one that is killed is this test's own program in a process of its own. It kills itself as soon as
//! its client has so many answers, while others are on their way.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use dps_emulator::EmulatorConfig;
use futures::future::join_all;
use reqwest::Method;
use rustix::process::{Signal, getpid, kill_process};
use serde_json::{Value, json};

use crate::fixture::{World, derived};

/// Where the state is, and the list of what was answered.
const FOLDER: &str = "DPS_EMULATOR_KILLED_FOLDER";
/// After how many answers the process ends.
const ANSWERS: &str = "DPS_EMULATOR_KILLED_ANSWERS";

const GROUP: &str = "/enrollmentGroups/keys";
const GROUP_KEY: &str = "bm90IGEgc2VjcmV0LCBidXQgbG9uZyBlbm91Z2g=";

/// Devices that register at the same time.
const AT_ONCE: usize = 8;

fn config(folder: &Path) -> EmulatorConfig {
    EmulatorConfig {
        state: Some(folder.join("state.db")),
        ..EmulatorConfig::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the test below, which sees it killed"]
async fn victim() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).expect("a folder"));
    let last: usize = std::env::var(ANSWERS)
        .ok()
        .and_then(|answers| answers.parse().ok())
        .expect("a number");
    let world = World::with(config(&folder)).await;
    let list = File::options()
        .append(true)
        .create(true)
        .open(folder.join("answered"))
        .expect("a list");
    let answers = AtomicUsize::new(0);
    let device_after_device = async |worker: usize| {
        for number in 0.. {
            let id = format!("{last}-{worker}-{number}");
            let device = world.keyed_device(&id, &derived(GROUP_KEY, &id));
            let assigned = device.register().await;
            let etag = assigned["registrationState"]["etag"].as_str();
            writeln!(&list, "{id} {}", etag.expect("an ETag")).expect("noted");
            if answers.fetch_add(1, Ordering::Relaxed) + 1 == last {
                kill_process(getpid(), Signal::KILL).expect("killed");
            }
        }
    };
    join_all((0..AT_ONCE).map(device_after_device)).await;
}

/// Every registration that a device was told of, by its ETag.
fn answered(folder: &Path) -> BTreeMap<String, String> {
    let list = fs::read_to_string(folder.join("answered")).expect("a list");
    list.lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(id, etag)| (id.to_owned(), etag.to_owned()))
        .collect()
}

#[tokio::test]
async fn nothing_that_was_answered_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = World::with(config(folder.path())).await;
    let keys = json!({"primaryKey": GROUP_KEY, "secondaryKey": GROUP_KEY});
    let group = json!({
        "enrollmentGroupId": "keys",
        "attestation": {"type": "symmetricKey", "symmetricKey": keys},
    });
    let put = world.service(Method::PUT, GROUP, group).await;
    assert_eq!(put.status, 200, "{put:?}");
    world.emulator.shutdown().await.expect("ends");

    for answers in [1, 9, 40] {
        let ended = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "--ignored", "killed::victim"])
            .env(FOLDER, folder.path())
            .env(ANSWERS, answers.to_string())
            .output()
            .expect("starts");
        assert_eq!(ended.status.signal(), Some(9), "{ended:?}");

        let world = World::with(config(folder.path())).await;
        let answered = answered(folder.path());
        assert!(answered.len() >= answers, "{answered:?}");
        for (id, etag) in answered {
            let path = format!("/registrations/{id}");
            let kept = world.service(Method::GET, path, Value::Null).await;
            assert_eq!(kept.status, 200, "after {answers} answers: {id} is lost");
            assert_eq!(kept.etag(), etag, "after {answers} answers: {id}");
        }
        world.emulator.shutdown().await.expect("ends");
    }
}
