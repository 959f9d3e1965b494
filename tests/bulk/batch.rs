//! A batch: the command that issues it, accidents on the way, and what must be true of it in the end.

use std::collections::{HashMap, HashSet};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use dps_pki_tests::{Home, Run, binary};
use pki_core::certificate::pem;
use pki_core::ids::Sha256Thumbprint;
use pki_core::inventory::{Filter, Inventory as _, InventoryEntry, Status};
use pki_core::key::software::SoftwareSigner;
use pki_core::key::{Signer as _, read_private_key};
use pki_core::sqlite::SqliteInventory;
use serde_json::Value;

/// A batch, and the command that issues it.
pub(super) struct Batch<'a> {
    home: &'a Home,
    name: String,
    format: &'static str,
    devices: usize,
    folder: &'static str,
    /// The batch whose devices it renews, if it does.
    renewed: Option<String>,
    /// Whether it takes the place of a batch of its name that was lost.
    replaces: bool,
}

/// What an output holds of one device.
struct Delivered {
    id: String,
    certificate: String,
    key: String,
}

impl<'a> Batch<'a> {
    pub(super) fn new(home: &'a Home, name: &str, format: &'static str, devices: usize) -> Self {
        if format == "sealed" && !home.path("identity").exists() {
            home.tool("age-keygen", "-o identity").ok();
        }
        Self {
            home,
            name: name.to_owned(),
            format,
            devices,
            folder: ".",
            renewed: None,
            replaces: false,
        }
    }

    /// The same batch anew, since its output was lost.
    pub(super) fn replacing(other: &Self) -> Self {
        let anew = Self::new(other.home, &other.name, other.format, other.devices);
        Self {
            replaces: true,
            ..anew.in_folder("again")
        }
    }

    /// A batch that renews the devices of another one.
    pub(super) fn renewing(home: &'a Home, name: &str, other: &Batch<'_>) -> Self {
        Self {
            renewed: Some(other.name.clone()),
            ..Self::new(home, name, other.format, other.devices)
        }
    }

    /// What its registration IDs begin with.
    fn prefix(&self) -> &str {
        self.renewed.as_ref().unwrap_or(&self.name)
    }

    /// The same batch with its output in another folder.
    pub(super) fn in_folder(self, folder: &'static str) -> Self {
        Self { folder, ..self }
    }

    fn out(&self) -> String {
        let Self { folder, name, .. } = self;
        match *folder {
            "." => format!("{name}.{}", self.format),
            folder => format!("{folder}/{name}.{}", self.format),
        }
    }

    pub(super) fn line(&self) -> String {
        let Self { name, devices, .. } = self;
        let form = match self.format {
            "sealed" => {
                let recipient = self.home.tool("age-keygen", "-y identity").ok().stdout;
                format!("--format ndjson --recipient {}", recipient.trim())
            }
            "pipe" => "--format ndjson --plain-keys".to_owned(),
            format => format!("--format {format} --plain-keys"),
        };
        let out = match self.format {
            "pipe" => "-".to_owned(),
            _ => self.out(),
        };
        if self.replaces {
            return format!("batch replace {name} --leaves void --yes {form} --out {out}");
        }
        let what = match self.renewed {
            Some(_) => "renew",
            None => "issue --authority factory",
        };
        let prefix = self.prefix();
        format!("{what} --prefix {prefix}: --count {devices} --batch {name} {form} --out {out}")
    }

    #[track_caller]
    pub(super) fn run(&self) -> Run {
        if self.format != "pipe" {
            return self.home.dps_pki(&self.line());
        }
        let out = self.out();
        let script = format!(
            "\"$@\" | cat >tmp/piped; code=${{PIPESTATUS[0]}}
             [ $code = 0 ] && [ -s tmp/piped ] && cat tmp/piped >{out}
             exit $code"
        );
        self.home.write("tmp/run", script);
        let line = format!("tmp/run {} {}", binary().display(), self.line());
        self.home.tool("bash", &line)
    }

    pub(super) fn start(&self) -> Child {
        let mut command = self.home.command(&self.line());
        // A pipe that nobody reads is soon full, and its batch does not end.
        let stdout = match self.format {
            "pipe" => Stdio::piped(),
            _ => Stdio::null(),
        };
        // Whoever has the inventory and does not get on is not waited for.
        command.env("DPS_PKI_LOCK_TIMEOUT", "1s");
        let child = command.stdout(stdout).stderr(Stdio::piped()).spawn();
        child.expect("dps-pki starts")
    }

    /// Starts a run, and returns when its output has begun to grow.
    pub(super) fn start_and_see(&self) -> Child {
        let mut child = self.start();
        let part = self.home.path(format!("{}.part", self.out()));
        while fs::metadata(&part).map_or(0, |part| part.len()) == 0 {
            let ended = child.try_wait().expect("its state");
            assert!(ended.is_none(), "it ended before it was seen to write");
            thread::yield_now();
        }
        child
    }

    /// Starts a run and kills it after a time; tells whether that was before its end.
    pub(super) fn cut(&self, after: Duration) -> bool {
        let mut child = self.start();
        // The moment of the accident, not a way to wait for something.
        thread::sleep(after);
        child.kill().expect("SIGKILL");
        child.wait().expect("it has ended").signal().is_some()
    }

    /// The same, with the time counted from when the output grows.
    pub(super) fn cut_while_it_writes(&self, after: Duration) -> bool {
        let part = self.home.path(format!("{}.part", self.out()));
        let length = || fs::metadata(&part).map_or(0, |part| part.len());
        let before = length();
        let mut child = self.start();
        while length() <= before && child.try_wait().expect("its state").is_none() {
            thread::yield_now();
        }
        thread::sleep(after);
        child.kill().expect("SIGKILL");
        child.wait().expect("it has ended").signal().is_some()
    }

    /// How long it takes when nobody interferes.
    pub(super) fn time(&self) -> Duration {
        let start = Instant::now();
        self.run().ok();
        start.elapsed()
    }

    /// Checks a batch that is complete against its input and the inventory, and that running it again
    /// changes nothing; returns how many certificates were voided on the way.
    #[track_caller]
    pub(super) fn check(&self) -> usize {
        let all = entries(self.home, &self.name);
        let serials: HashSet<_> = all.iter().map(serial_number).collect();
        assert_eq!(serials.len(), all.len(), "a serial number is there twice");
        let (live, dead): (Vec<_>, Vec<_>) = all
            .iter()
            .partition(|entry| entry.state.status() == Status::Delivered);
        let is_void = |entry: &&InventoryEntry| entry.state.status() == Status::Voided;
        assert!(dead.iter().all(is_void), "neither delivered nor voided");
        let mut live: HashMap<Sha256Thumbprint, String> = live.into_iter().map(named).collect();
        assert_eq!(live.len(), self.devices);
        let output = self.output();
        let ids: Vec<&str> = output.iter().map(|device| device.id.as_str()).collect();
        assert_eq!(ids, self.ids());
        for device in &output {
            let thumbprint = device.check();
            assert_eq!(live.remove(&thumbprint).as_ref(), Some(&device.id));
        }
        self.home.dps_pki("audit verify").ok();
        self.check_complete(all.len());
        dead.len()
    }

    #[track_caller]
    fn check_complete(&self, recorded: usize) {
        let files = || {
            let mut files = self.home.files();
            files.retain(|file| !file.starts_with("inventory.db"));
            files
        };
        let before = files();
        let digest = self.digest();
        let left = |file: &&String| file.ends_with(".part") || file.ends_with(".lock");
        assert_eq!(before.iter().find(left), None);
        let run = self.run();
        match self.format {
            // Where it went nobody knows, and its keys cannot be made again.
            "pipe" => run.refused(8, "is written to standard output once only"),
            _ => {
                run.ok().stderr_has("is complete already");
            }
        }
        assert_eq!((files(), self.digest()), (before, digest));
        assert_eq!(entries(self.home, &self.name).len(), recorded);
    }

    /// The registration IDs of its input, in order.
    fn ids(&self) -> Vec<String> {
        let prefix = self.prefix();
        let width = self.devices.to_string().len();
        let id = |number| format!("{prefix}:{number:0width$}");
        (1..=self.devices).map(id).collect()
    }

    pub(super) fn digest(&self) -> String {
        let out = self.out();
        let file = match self.format {
            "dir" => format!("{out}/SHA256SUMS"),
            _ => out,
        };
        self.home.tool("sha256sum", &file).ok().stdout
    }

    /// What the output holds, in its order.
    fn output(&self) -> Vec<Delivered> {
        let home = self.home;
        let out = self.out();
        match self.format {
            "ndjson" | "pipe" => home.read(&out).lines().map(Delivered::in_json).collect(),
            "sealed" => {
                let opened = home.tool("age", &format!("--decrypt -i identity {out}"));
                opened.ok().stdout.lines().map(Delivered::in_json).collect()
            }
            "tar" => {
                let folder = format!("tmp/{}", self.name);
                fs::create_dir_all(home.path(&folder)).expect("a folder");
                let listed = home.tool("tar", &format!("-xvf {out} -C {folder}")).ok();
                self.in_files(&folder, listed.stdout.lines())
            }
            _ => {
                let listed = home.read(&format!("{out}/SHA256SUMS"));
                let folder = home.path(&out);
                let folder = folder.to_str().expect("UTF-8");
                let script = format!("cd {folder} && exec sha256sum --check --quiet SHA256SUMS");
                home.write("tmp/check", script);
                home.tool("bash", "tmp/check").ok();
                let names = listed.lines().map(|line| &line[66..]);
                let devices = self.in_files(&out, names);
                let files = home.files();
                let inside = files
                    .iter()
                    .filter(|file| file.starts_with(&format!("{out}/")));
                assert_eq!(inside.count(), self.devices * 3 + 1, "a file is too many");
                devices
            }
        }
    }

    /// The devices whose files are in a folder, in the order in which their keys are listed.
    fn in_files<'b>(&self, folder: &str, listed: impl Iterator<Item = &'b str>) -> Vec<Delivered> {
        let bases = listed.filter_map(|name| name.strip_suffix(".key.pem"));
        let device = |base: &str| {
            let file = |ending| self.home.read(&format!("{folder}/{base}{ending}"));
            let certificate = file(".cert.pem");
            assert!(
                file("-full-chain.cert.pem").starts_with(&certificate),
                "{base}"
            );
            Delivered {
                id: base.replace("%3A", ":"),
                certificate,
                key: file(".key.pem"),
            }
        };
        bases.map(device).collect()
    }
}

impl Delivered {
    fn in_json(line: &str) -> Self {
        let object: Value = serde_json::from_str(line).expect("a JSON object");
        let text = |member: &str| object[member].as_str().expect(member).to_owned();
        let device = Self {
            id: text("registrationId"),
            certificate: text("certificate"),
            key: text("privateKey"),
        };
        let certificate = pem::certificate(device.certificate.as_bytes()).expect("a certificate");
        let serial = certificate.serial_number();
        let thumbprint = certificate.sha256_thumbprint();
        assert_eq!(text("serialNumber"), serial.to_string());
        assert_eq!(text("sha256Thumbprint"), thumbprint.to_string());
        device
    }

    /// The certificate is of this device and of this key; returns its thumbprint.
    #[track_caller]
    fn check(&self) -> Sha256Thumbprint {
        let certificate = pem::certificate(self.certificate.as_bytes()).expect("a certificate");
        assert_eq!(certificate.common_name().as_ref(), Some(&self.id));
        // What is compared is the public key that belongs to the private number, not one beside it.
        let key = read_private_key(self.key.as_bytes(), None).expect("a key");
        let key = SoftwareSigner::new(&key).expect("a key that signs");
        assert_eq!(certificate.public_key(), key.public_key(), "{}", self.id);
        certificate.sha256_thumbprint()
    }
}

/// What the inventory holds of a batch.
pub(super) fn entries(home: &Home, batch: &str) -> Vec<InventoryEntry> {
    let inventory = SqliteInventory::open(&home.path("inventory.db")).expect("an inventory");
    let filter = Filter {
        batch: Some(batch.parse().expect("a name")),
        ..Filter::default()
    };
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = inventory.list(&filter, after.as_ref(), 1000).expect("read");
        found.extend(page.entries);
        after = page.next;
        if after.is_none() {
            return found;
        }
    }
}

fn serial_number(entry: &InventoryEntry) -> String {
    entry.recorded.certificate().serial_number().to_string()
}

fn named(entry: &InventoryEntry) -> (Sha256Thumbprint, String) {
    let id = entry.recorded.registration_id().expect("a leaf");
    let thumbprint = entry.recorded.certificate().sha256_thumbprint();
    (thumbprint, id.to_string())
}
