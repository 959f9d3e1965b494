//! A folder to work in, and programs run in it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::binary::binary;
use crate::emulator::{Emulator, SingleCertificate};
use crate::run::Run;

/// What opens the authority keys of every home here; in the file `passphrase` of its folder. It has the
/// form of those that `init --new-passphrase` makes: keys under one that somebody chose take 0.2 s to
/// open, and these tests open thousands.
pub const PASSPHRASE: &str = "tests-never-guess-these-texts";

/// A folder of its own, which becomes a PKI home once `init` was run in it.
///
/// Programs run in it see no more of this machine's environment than where programs are.
#[derive(Debug)]
pub struct Home {
    root: PathBuf,
    /// Kept for as long as any home is in it.
    folder: Arc<TempDir>,
}

impl Home {
    /// A folder with nothing but a passphrase.
    pub fn empty() -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a temporary folder"));
        let home = Self {
            root: folder.path().to_owned(),
            folder,
        };
        home.write("passphrase", PASSPHRASE);
        fs::create_dir(home.path("tmp")).expect("tmp");
        home
    }

    /// A home from a template, with its authorities made.
    pub fn from_template(template: &str) -> Self {
        let home = Self::empty();
        home.dps_pki(&format!("init --template {template}")).ok();
        home.dps_pki("authority create").ok();
        home
    }

    /// A home with this `pki.toml`, and with its authorities made.
    pub fn declaring(declaration: &str) -> Self {
        let home = Self::empty();
        home.write("pki.toml", declaration);
        home.dps_pki("authority create").ok();
        home
    }

    /// A home with the `pki.toml` of another one, and nothing made yet.
    pub fn with_declaration_of(other: &Self) -> Self {
        let home = Self::empty();
        home.write("pki.toml", other.read("pki.toml"));
        home
    }

    /// The quickstart home, and a local DPS that was brought to what it declares.
    pub fn with_dps() -> (Self, Emulator) {
        let home = Self::from_template("quickstart");
        let emulator = Emulator::start(&home);
        home.dps_pki("apply --yes").ok();
        (home, emulator)
    }

    /// The same with what the DPS makes of a single certificate.
    pub fn with_dps_that(service: SingleCertificate) -> (Self, Emulator) {
        let home = Self::from_template("quickstart");
        let emulator = Emulator::start_that(&home, service);
        home.dps_pki("apply --yes").ok();
        (home, emulator)
    }

    /// A home in a folder below this one.
    pub fn below(&self, name: &str) -> Self {
        let home = Self {
            root: self.path(name),
            folder: Arc::clone(&self.folder),
        };
        fs::create_dir_all(home.path("tmp")).expect("tmp");
        home
    }

    /// A path in the folder.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.join(name)
    }

    /// A file's content.
    #[track_caller]
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The file in which the key of an authority's newest generation is.
    #[track_caller]
    pub fn key_of(&self, authority: &str) -> String {
        let shown = self.json(&format!("authority show {authority}"));
        let newest = shown.as_array().and_then(|generations| generations.last());
        let key = newest.and_then(|newest| newest["key"].as_str());
        key.expect("a key in a file").to_owned()
    }

    /// Writes a file, and the folders above it.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect(name);
        fs::write(&path, content).expect(name);
        if name.ends_with("passphrase") {
            // Nobody else's, as it should be; one that others can read is warned of.
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect(name);
        }
    }

    /// Writes a file that nobody else can read, as secrets and inventories are.
    pub fn write_own(&self, name: &str, content: impl AsRef<[u8]>) {
        self.write(name, content);
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).expect(name);
    }

    /// Issues a new leaf for a device, at the place of the old one, which is kept as `ID-old`.
    #[track_caller]
    pub fn renew(&self, id: &str) {
        for ending in [".key.pem", ".cert.pem", "-full-chain.cert.pem"] {
            let from = self.path(format!("devices/{id}{ending}"));
            let to = self.path(format!("devices/{id}-old{ending}"));
            fs::rename(from, to).expect("a file of the device");
        }
        self.dps_pki(&format!("renew {id} --out devices")).ok();
    }

    /// Puts one text for another in `pki.toml`, where it must be.
    #[track_caller]
    pub fn redeclare(&self, from: &str, to: &str) {
        let text = self.read("pki.toml");
        assert!(text.contains(from), "{from:?} is not in pki.toml:\n{text}");
        self.write("pki.toml", text.replace(from, to));
    }

    /// Who may do what with a file: the lower nine bits of its mode.
    pub fn mode(&self, name: &str) -> u32 {
        let metadata = fs::metadata(self.path(name)).expect(name);
        metadata.permissions().mode() & 0o777
    }

    /// Every file in the folder and below, relative to it, sorted; but for `locks/`, where commands say
    /// what they are at.
    pub fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() && !path.is_symlink() {
                    folders.push(path)
                } else {
                    let relative = path.strip_prefix(&self.root).expect("below");
                    found.push(relative.to_str().expect("UTF-8").to_owned());
                }
            }
        }
        found.retain(|file| !file.starts_with("locks/"));
        found.sort();
        found
    }

    /// Runs `dps-pki` to its end; blanks separate the words of the line.
    #[track_caller]
    pub fn dps_pki(&self, line: &str) -> Run {
        let output = self.command(line).output().expect("dps-pki starts");
        Run::new(&format!("dps-pki {line}"), output)
    }

    /// The JSON document that `dps-pki` answers with.
    #[track_caller]
    pub fn json(&self, line: &str) -> Value {
        self.dps_pki(&format!("{line} --output json")).ok().json()
    }

    /// Starts `dps-pki` and kills it after a time, unless it has ended by then.
    pub fn kill_after(&self, line: &str, time: Duration) {
        let mut command = self.command(line);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut child = child.expect("dps-pki starts");
        // The moment of the accident, not a way to wait for something.
        thread::sleep(time);
        child.kill().expect("SIGKILL");
        child.wait().expect("it has ended");
    }

    /// `dps-pki`, not started yet.
    pub fn command(&self, line: &str) -> Command {
        self.program(binary().to_str().expect("UTF-8"), line)
    }

    /// Runs another program to its end; blanks separate the words of the line.
    #[track_caller]
    pub fn tool(&self, program: &str, line: &str) -> Run {
        self.tool_with(program, line, [])
    }

    /// The same with more variables in the program's environment.
    #[track_caller]
    pub fn tool_with<'a>(
        &self,
        program: &str,
        line: &str,
        variables: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Run {
        let output = self
            .program(program, line)
            .envs(variables)
            .output()
            .unwrap_or_else(|error| panic!("{program} must be installed: {error}"));
        Run::new(&format!("{program} {line}"), output)
    }

    /// A program in this folder with an environment of its own and nothing on standard input.
    pub(crate) fn program(&self, program: &str, line: &str) -> Command {
        let mut command = Command::new(program);
        command
            .args(line.split_whitespace())
            .current_dir(&self.root)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.root)
            .env("TMPDIR", self.path("tmp"))
            .env("DPS_PKI_PASSPHRASE_FILE", "passphrase")
            .stdin(Stdio::null());
        command
    }
}
