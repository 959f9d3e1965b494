//! The guides in `docs/guides`, run as a reader would: every `console` block, in order, in one shell,
//! with the built binary and what else the guide names.
//!
//! A line that starts with `$ ` is typed, and goes on in lines that start with `> `; what follows must be printed, where `[..]` stands for a part
//! of a line and `...` for any lines; a last line `? N` is the exit code, which is 0 otherwise. A block
//! that is marked `second terminal` is a program that stays: when it has printed what the guide shows,
//! the guide goes on. A block with a file's name after its language, such as `python device.py`, is saved
//! under that name. trycmd knows neither shells that remember nor programs that stay; its snapbox
//! compares here.
//! One thing differs from the reader's run: the port 8443, which may be taken on this machine.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use dps_pki_tests::{Home, Sdks, beside_no_sdk, binary};
use snapbox::{Assert, Data, IntoData as _};

#[test]
fn getting_started() {
    follow("getting-started.md");
}

#[test]
fn prove_a_ca() {
    follow("prove-a-ca.md");
}

#[test]
fn offline_root() {
    follow("offline-root.md");
}

#[test]
fn factory_line() {
    follow("factory-line.md");
}

#[test]
fn move_an_existing_pki() {
    follow("move-an-existing-pki.md");
}

#[test]
fn python_device() {
    follow_with_sdks("emulator/python-device.md");
}

#[test]
fn node_device() {
    follow_with_sdks("emulator/node-device.md");
}

#[test]
fn service_sdks() {
    follow_with_sdks("emulator/service-sdks.md");
}

#[test]
fn arm_sdks() {
    follow_with_sdks("emulator/arm-sdks.md");
}

#[test]
fn curl_and_mosquitto() {
    follow_with_sdks("emulator/curl-and-mosquitto.md");
}

#[test]
fn leaf_compromised() {
    follow("leaf-compromised.md");
}

#[test]
fn intermediate_compromised() {
    follow("intermediate-compromised.md");
}

#[test]
fn root_expires() {
    follow("root-expires.md");
}

#[test]
fn replace_a_certificate() {
    follow("replace-a-certificate.md");
}

#[test]
fn deprovision() {
    follow("deprovision.md");
}

#[test]
fn two_hubs() {
    follow("two-hubs.md");
}

/// Every guide is followed by a test above.
#[test]
fn no_guide_is_left_out() {
    let here = include_str!("guides.rs");
    for (folder, call) in [
        ("", "follow(\""),
        ("emulator/", "follow_with_sdks(\"emulator/"),
    ] {
        for entry in fs::read_dir(guides().join(folder)).expect("a folder of guides") {
            let entry = entry.expect("a guide");
            let name = entry.file_name();
            let is_followed = here.contains(&format!("{call}{}\"", name.display()));
            assert!(
                entry.path().is_dir() || is_followed,
                "{name:?} is not followed"
            );
        }
    }
}

/// The port that guides name.
const GUIDE_PORT: &str = "8443";

fn follow(guide: &str) {
    let _ports = beside_no_sdk();
    follow_in(&Home::empty(), guide);
}

/// Follows a guide of the emulator: Microsoft's SDKs are installed already, since that takes long.
fn follow_with_sdks(guide: &str) {
    let Some(_sdks) = Sdks::reserve() else {
        return;
    };
    let home = Home::empty();
    symlink(Sdks::node_modules(), home.path("node_modules")).expect("node_modules");
    follow_in(&home, guide);
}

fn follow_in(home: &Home, guide: &str) {
    let text = fs::read_to_string(guides().join(guide)).expect(guide);
    let port = free_port();
    let text = text.replace(GUIDE_PORT, &port);
    fs::remove_file(home.path("passphrase")).expect("the guide makes its own");
    let mut terminal = Terminal::open(home);
    let mut staying = Vec::new();
    for step in steps(&text) {
        if step.stays {
            let folder = terminal.run("pwd").printed;
            staying.push(Program::start(home, folder.trim(), &step));
            continue;
        }
        let ended = terminal.run(&step.typed);
        assert_eq!(
            ended.code, step.code,
            "{guide}: $ {}\n{}",
            step.typed, ended.printed
        );
        compare(guide, &step, &ended.printed);
        terminal.run(&format!(
            "sed -i s/localhost:{GUIDE_PORT}/localhost:{port}/ pki.toml */pki.toml"
        ));
    }
}

fn guides() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/guides"))
}

/// A port below those that systems hand out by themselves, so that nobody takes it meanwhile; another one
/// for each guide, since they are followed side by side.
fn free_port() -> String {
    static TRIED: AtomicU32 = AtomicU32::new(0);
    let start = 20_000 + std::process::id() % 5_000;
    let mut tried = std::iter::repeat_with(|| start + TRIED.fetch_add(1, Ordering::Relaxed));
    let is_free = |port: &u32| TcpListener::bind(format!("127.0.0.1:{port}")).is_ok();
    let port = tried.by_ref().take(5_000).find(is_free);
    port.expect("a free port").to_string()
}

/// A command of a guide.
struct Step {
    typed: String,
    shown: String,
    code: i32,
    stays: bool,
}

impl Step {
    fn typed(line: &str, stays: bool) -> Self {
        Self {
            typed: line.to_owned(),
            shown: String::new(),
            code: 0,
            stays,
        }
    }
}

/// A fenced block that matters to the reader's machine.
#[derive(Clone, Copy)]
enum Block {
    Commands { stays: bool },
    File,
}

fn steps(guide: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut block = None;
    for line in guide.lines() {
        match (block, line.strip_prefix("```")) {
            (None, Some(kind)) if kind.starts_with("console") => {
                let stays = kind.contains("second terminal");
                block = Some(Block::Commands { stays });
            }
            (None, Some(kind)) => {
                block = kind.split_once(' ').map(|(_, file)| {
                    steps.push(Step::typed(&format!("cat > {file} <<'END OF FILE'"), false));
                    Block::File
                });
            }
            (Some(Block::File), fence) => {
                let last = steps.last_mut().expect("a file was begun");
                last.typed
                    .extend(["\n", fence.map_or(line, |_| "END OF FILE")]);
                block = fence.map_or(block, |_| None);
            }
            (Some(_), Some(_)) => block = None,
            (None, None) => {}
            (Some(_), None) if continues(&steps, line) => {
                if let (Some(step), Some(more)) = (steps.last_mut(), line.strip_prefix("> ")) {
                    step.typed.extend(["\n", more]);
                }
            }
            (Some(Block::Commands { stays }), None) => match (
                line.strip_prefix("$ "),
                line.strip_prefix("? "),
                steps.last_mut(),
            ) {
                (Some(typed), _, _) => steps.push(Step::typed(typed, stays)),
                (None, Some(code), Some(step)) => step.code = code.parse().expect("an exit code"),
                (None, None, Some(step)) => step.shown.extend([line, "\n"]),
                (None, _, None) => panic!("output before any command: {line}"),
            },
        }
    }
    assert!(!steps.is_empty(), "the guide has no commands");
    steps
}

/// Whether a line belongs to the command before it, as in a shell that asks for more.
fn continues(steps: &[Step], line: &str) -> bool {
    let typing = steps.last().is_some_and(|step| step.shown.is_empty());
    typing && line.starts_with("> ")
}

#[track_caller]
fn compare(guide: &str, step: &Step, printed: &str) {
    let name = format!("{guide}: $ {}", step.typed);
    let shown = Data::text(step.shown.as_str());
    let result = Assert::new().try_eq(Some(&name), printed.to_owned().into_data(), shown);
    result.unwrap_or_else(|difference| panic!("{difference}"));
}

/// A shell that remembers where it is and what was set.
struct Terminal {
    shell: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// What a command in a terminal came to.
struct Ended {
    printed: String,
    code: i32,
}

impl Terminal {
    /// Follows the output of every command, with its exit code.
    const END: &str = "=== end of output, exit code ";

    fn open(home: &Home) -> Self {
        let mut shell = bash(home, home.path("").to_str().expect("UTF-8"))
            .args(["--norc", "--noprofile"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("bash must be installed");
        let input = shell.stdin.take().expect("a pipe");
        let output = BufReader::new(shell.stdout.take().expect("a pipe"));
        let mut terminal = Self {
            shell,
            input,
            output,
        };
        terminal.run("exec 2>&1");
        terminal
    }

    fn run(&mut self, line: &str) -> Ended {
        let end = Self::END;
        // On a line of its own even if the output does not end with one.
        writeln!(self.input, "{line}\nprintf '\\n{end}%s\\n' $?").expect("the shell reads");
        let mut printed = String::new();
        loop {
            let mut next = String::new();
            let length = self.output.read_line(&mut next).expect("UTF-8");
            assert_ne!(length, 0, "the shell ended in: {line}\n{printed}");
            if let Some(code) = next.strip_prefix(end) {
                printed.pop();
                let code = code.trim().parse().expect("an exit code");
                return Ended { printed, code };
            }
            printed.push_str(&next);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// A program in a terminal of its own, until the guide has been read.
struct Program(Child);

impl Program {
    /// Returns when it has printed what the guide shows.
    fn start(home: &Home, folder: &str, step: &Step) -> Self {
        let mut child = bash(home, folder)
            .args(["-c", &format!("exec 2>&1; exec {}", step.typed)])
            .spawn()
            .expect("bash must be installed");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let program = Self(child);
        let lines = output.lines().take(step.shown.lines().count());
        let printed: String = lines.map(|line| line.expect("UTF-8") + "\n").collect();
        compare("second terminal", step, &printed);
        program
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A shell in a folder, for which `dps-pki` is the built binary and `python3` has the SDKs, if they are there.
fn bash(home: &Home, folder: &str) -> Command {
    let own = binary().parent().expect("a folder").to_owned();
    let mut programs = vec![own, Sdks::python_programs()];
    programs.extend(std::env::split_paths(
        &std::env::var_os("PATH").unwrap_or_default(),
    ));
    let mut command = Command::new("bash");
    command
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::join_paths(programs).expect("folders"))
        .env("HOME", home.path(""))
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}
