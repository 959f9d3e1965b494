//! A home with files that are not what they seem, and the check of what a refused command says and leaves.

use std::collections::BTreeMap;

use dps_pki_tests::{Emulator, Home, Run};

use super::{Case, USAGE};

/// A quickstart home with its DPS, one device, and files that are not what they seem.
pub(super) struct Furnished {
    pub(super) home: Home,
    pub(super) emulator: Emulator,
}

impl std::ops::Deref for Furnished {
    type Target = Home;

    fn deref(&self) -> &Home {
        &self.home
    }
}

pub(super) fn furnished() -> Furnished {
    let (home, emulator) = Home::with_dps();
    home.dps_pki("issue sensor-1 --authority factory --out devices")
        .ok();
    home.write("prose.pem", "Dear reader, this is no certificate.\n");
    home.write_own("empty", "");
    let certificate = home.read("devices/sensor-1.cert.pem");
    home.write("cut.pem", &certificate[..certificate.len() / 2]);
    home.write(
        "ca.pem",
        home.dps_pki("authority export factory").ok().stdout,
    );
    home.tool("openssl", "req -new -newkey rsa:2048 -nodes -keyout tmp/key -subj /CN=sensor-7 -out whole.csr -outform DER")
        .ok();
    let mut request = std::fs::read(home.path("whole.csr")).expect("a request");
    let last = request.len() - 1;
    request[last] ^= 1;
    home.write("broken.csr", request);
    home.tool("mkfifo", "pipe").ok();
    Furnished { home, emulator }
}

/// Runs every line, for people and for scripts; each must end as the case says and change nothing.
#[track_caller]
pub(super) fn check(furnished: &Furnished, cases: &[Case<'_>]) {
    check_lines(&furnished.home, cases);
}

#[track_caller]
pub(super) fn check_lines(home: &Home, cases: &[Case<'_>]) {
    let before = contents(home);
    for (line, ending, says) in cases {
        let run = home.dps_pki(line);
        check_sentence(&run, *ending, says);
        let run = home.dps_pki(&format!("{line} --output json"));
        check_object(&run, *ending);
        let after = contents(home);
        assert!(
            before == after,
            "{line} changed files: {:?} -> {:?}",
            before.keys(),
            after.keys()
        );
    }
}

/// One sentence, then causes and hints; a plan may stand before it. clap's own answer to a wrong
/// command line goes on with the usage.
#[track_caller]
pub(super) fn check_sentence(run: &Run, (code, _): (i32, &str), says: &str) {
    assert_eq!(run.code, code, "{run}");
    let lines: Vec<&str> = run.stderr.lines().collect();
    let is_error = |line: &&&str| line.starts_with("error: ");
    assert_eq!(lines.iter().filter(is_error).count(), 1, "{run}");
    let said: Vec<&&str> = lines.iter().skip_while(|line| !is_error(line)).collect();
    assert!(!said[0].ends_with('.'), "{run}");
    assert!(
        !run.stderr.contains("panicked") && !run.stderr.contains("hunter2"),
        "{run}"
    );
    if code == USAGE.0 {
        assert!(run.stderr.contains(says), "{says:?} is not said: {run}");
        return;
    }
    assert!(said[0].contains(says), "{says:?} is not said: {run}");
    let is_more = |line: &&&str| line.starts_with("  cause: ") || line.starts_with("  hint: ");
    assert!(said[1..].iter().all(is_more), "{run}");
}

#[track_caller]
pub(super) fn check_object(run: &Run, (code, kind): (i32, &str)) {
    assert_eq!(run.code, code, "{run}");
    let error = run.error_json();
    assert_eq!(
        (&error["kind"], &error["exitCode"]),
        (&kind.into(), &code.into()),
        "{run}"
    );
    assert!(error["message"].is_string(), "{run}");
}

/// Every file with what it holds. What the emulator logs does not count.
pub(super) fn contents(home: &Home) -> BTreeMap<String, Vec<u8>> {
    let read = |name: String| {
        let path = home.path(&name);
        let is_file = path.metadata().is_ok_and(|metadata| metadata.is_file());
        let content = if is_file {
            std::fs::read(&path).unwrap_or_default()
        } else {
            Vec::new()
        };
        (name, content)
    };
    home.files()
        .into_iter()
        .filter(|name| name != "emulator.log")
        .map(read)
        .collect()
}
