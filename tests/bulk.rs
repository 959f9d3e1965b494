//! Batches that meet with accidents: killed at any instant, a disk that fills up, an inventory that
//! cannot be written, two runs at once, Ctrl-C. Whatever happens, the same command goes on to the end,
//! and then every device has exactly one identity, recorded and delivered.
//!
//! Kills come at random moments from a fixed seed. Each run goes on where the last one stopped, so the
//! moments lie all over a batch.
//! OpenSSL's verdict on single certificates is in `interop_openssl.rs`; here everything of a batch is
//! compared with everything else, and age, tar and sha256sum open what they are meant to open.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use dps_pki_tests::{Home, PASSPHRASE, Run, binary};
use pki_core::format::pem;
use pki_core::ids::Sha256Thumbprint;
use pki_core::inventory::sqlite::SqliteInventory;
use pki_core::inventory::{Filter, Inventory as _, InventoryEntry, Status};
use pki_core::key::software::SoftwareSigner;
use pki_core::key::{Signer as _, read_private_key};
use serde_json::Value;

#[test]
fn fifty_kills_lose_nothing_and_repeat_nothing() {
    const KILLS: u32 = 50;
    let home = Home::from_template("quickstart");
    let batch = |number: u32| Batch::new(&home, &format!("line-{number}"), "ndjson", 20_000);
    let usual = batch(0).time();
    batch(0).check();
    let mut moments = Moments(0x5eed);
    let (mut kills, mut voided) = (0, 0);
    for number in 1.. {
        let batch = batch(number);
        // Anywhere, and as often while it writes: how long it reads and checks first varies.
        while kills < KILLS
            && match kills % 2 {
                0 => batch.cut(moments.within(usual / 5)),
                _ => batch.cut_while_it_writes(moments.within(usual / 20)),
            }
        {
            kills += 1;
        }
        batch.run().ok();
        voided += batch.check();
        if kills == KILLS {
            break;
        }
    }
    assert!(voided > 0, "no kill fell between a record and its delivery");
}

#[test]
fn every_format_goes_on_where_it_was_cut() {
    let home = Home::from_template("quickstart");
    for format in ["tar", "dir", "sealed"] {
        let batch = |name: &str| Batch::new(&home, &format!("{format}-{name}"), format, 3_000);
        let usual = batch("whole").time();
        batch("whole").check();
        let mut moments = Moments(0xf0a7);
        let cut = batch("cut");
        for _ in 0..8 {
            cut.cut(moments.within(usual));
        }
        cut.run().ok();
        cut.check();
    }
}

#[test]
fn a_full_disk_is_told_and_gone_on_with_when_there_is_space() {
    let home = Home::from_template("quickstart");
    let Some(disk) = SmallDisk::mount(home.path("disk"), "6m") else {
        return;
    };
    let batch = Batch::new(&home, "line", "ndjson", 5_000).in_folder("disk");
    for _ in 0..2 {
        refused(&batch.run(), "No space left on device");
    }
    disk.resize("64m");
    batch.run().ok();
    batch.check();
}

#[test]
fn a_full_disk_under_the_inventory_is_told_too() {
    let room = Home::empty();
    let Some(disk) = SmallDisk::mount(room.path("home"), "3m") else {
        return;
    };
    let home = room.below("home");
    home.write("passphrase", PASSPHRASE);
    home.dps_pki("init").ok();
    home.dps_pki("authority create").ok();
    let batch = Batch::new(&home, "line", "ndjson", 5_000).in_folder("..");
    refused(&batch.run(), "disk is full");
    disk.resize("64m");
    batch.run().ok();
    batch.check();
}

/// Where nobody may mount a disk, this stands for a full one.
#[test]
fn an_output_that_may_grow_no_more_is_told() {
    let home = Home::from_template("quickstart");
    let batch = Batch::new(&home, "line", "ndjson", 5_000);
    // In KiB. Without the trap a signal comes with it that no full disk sends.
    home.write("quota", "trap '' XFSZ; ulimit -f 8000; exec \"$@\"");
    let line = format!("quota {} {}", binary().display(), batch.line());
    refused(&home.tool("bash", &line), "File too large");
    batch.run().ok();
    batch.check();
}

#[test]
fn an_output_that_cannot_be_written_is_told_before_anything_is_issued() {
    let home = Home::from_template("quickstart");
    for folder in ["nowhere", "pki.toml"] {
        let batch = Batch::new(&home, "line", "ndjson", 10).in_folder(folder);
        refused(&batch.run(), &format!("cannot write {folder}/line.ndjson"));
    }
    home.write("line.ndjson", "somebody else's");
    let batch = Batch::new(&home, "line", "ndjson", 10);
    let run = batch.run().ends_with(4);
    assert!(run.stderr.contains("line.ndjson exists already"), "{run}");
    assert_eq!(home.read("line.ndjson"), "somebody else's");
    assert_eq!(entries(&home, "line").len(), 0);
}

#[test]
fn a_locked_inventory_ends_the_run_and_not_the_batch() {
    let home = Home::from_template("quickstart");
    let batch = Batch::new(&home, "line", "ndjson", 10_000);
    let child = batch.start_and_see();
    let other = rusqlite::Connection::open(home.path("inventory.db")).expect("an inventory");
    other.busy_timeout(Duration::from_secs(60)).expect("set");
    other.execute_batch("BEGIN IMMEDIATE").expect("locked");
    let ended = child.wait_with_output().expect("it has ended");
    assert_eq!(ended.status.code(), Some(1));
    let told = String::from_utf8(ended.stderr).expect("UTF-8");
    assert!(
        told.contains("locked") && told.contains("the same command goes on"),
        "{told}"
    );
    other.execute_batch("ROLLBACK").expect("unlocked");
    batch.run().ok();
    batch.check();
}

/// The inventory refuses a chunk in the middle of a batch, as a broken disk would.
#[test]
fn a_committer_that_fails_ends_the_run_and_not_the_batch() {
    let home = Home::from_template("quickstart");
    let batch = Batch::new(&home, "line", "ndjson", 5_000);
    let inventory = rusqlite::Connection::open(home.path("inventory.db")).expect("an inventory");
    let fail = "CREATE TRIGGER broken BEFORE INSERT ON certificate WHEN new.id > 2500
                BEGIN SELECT raise(ABORT, 'a broken disk'); END";
    inventory.execute_batch(fail).expect("broken");
    for _ in 0..2 {
        refused(&batch.run(), "a broken disk");
    }
    inventory
        .execute_batch("DROP TRIGGER broken")
        .expect("mended");
    batch.run().ok();
    batch.check();
}

#[test]
fn a_pipe_gets_a_whole_batch() {
    let home = Home::from_template("quickstart");
    let batch = Batch::new(&home, "line", "pipe", 3_000);
    let usual = batch.time();
    batch.check();
    let mut moments = Moments(0x919e);
    let cut = Batch::new(&home, "cut", "pipe", 3_000);
    for _ in 0..5 {
        cut.cut(moments.within(usual));
    }
    cut.run().ok();
    cut.check();
    let manifest = home.json("batch show cut")["manifest"].clone();
    assert_eq!(manifest["output"], "-");
    let digest = manifest["outputSha256"].as_str().expect("a digest");
    assert!(cut.digest().starts_with(digest), "{digest}");
}

/// Whether the reader goes early, or when all is written and the last of it still lies in the pipe.
#[test]
fn a_reader_that_goes_is_told_and_the_batch_begun_anew() {
    let home = Home::from_template("quickstart");
    for (name, devices, reader) in [
        ("early", 3_000, "head -c 100000 >seen"),
        ("late", 10, "{ head -c 1000 >seen; sleep 1; }"),
    ] {
        let batch = Batch::new(&home, name, "pipe", devices);
        let script = format!("\"$@\" | {reader}; exit ${{PIPESTATUS[0]}}");
        home.write("tmp/script", script);
        let line = format!("tmp/script {} {}", binary().display(), batch.line());
        refused(
            &home.tool("bash", &line),
            "the reader of standard output has gone before the batch's end",
        );
        assert!(home.read("seen").starts_with("{\"registrationId\""));
        batch.run().ok();
        assert!(batch.check() > 0, "what the first run recorded is void");
    }
}

#[test]
fn a_second_run_of_the_same_batch_is_told_who_writes_it() {
    let home = Home::from_template("quickstart");
    let batch = Batch::new(&home, "line", "ndjson", 10_000);
    let child = batch.start_and_see();
    let run = batch.run().ends_with(4);
    let writer = format!("process {} is writing line.ndjson", child.id());
    assert!(run.stderr.contains(&writer), "{run}");
    let ended = child.wait_with_output().expect("it has ended");
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(batch.check(), 0, "nobody cut the first run short");
}

#[test]
fn two_batches_at_once_share_one_inventory() {
    let home = Home::from_template("quickstart");
    let batches = ["a", "b"].map(|name| Batch::new(&home, name, "ndjson", 5_000));
    for child in batches.each_ref().map(Batch::start) {
        let ended = child.wait_with_output().expect("it has ended");
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    }
    for batch in batches {
        assert_eq!(batch.check(), 0);
    }
}

#[test]
fn ctrl_c_says_how_far_it_is() {
    let home = Home::from_template("quickstart");
    let batch = Batch::new(&home, "line", "ndjson", 30_000);
    let child = batch.start_and_see();
    home.tool("kill", &format!("-INT {}", child.id())).ok();
    let ended = child.wait_with_output().expect("it has ended");
    assert_eq!(ended.status.code(), Some(130), "{ended:?}");
    let told = String::from_utf8(ended.stderr).expect("UTF-8");
    let far = told.split_once("stopped after ").expect("how far").1;
    let (far, rest) = far.split_once(' ').expect("a number");
    assert!(rest.starts_with("of 30000 devices"), "{told}");
    let run = batch.run().ok();
    let goes_on = format!("going on after {far} of 30000 devices; 0 that were cut short");
    assert!(run.stderr.contains(&goes_on), "{run}");
    assert_eq!(batch.check(), 0, "a chunk is finished first");
}

/// A run that failed for one reason, told once, and that can be gone on with.
#[track_caller]
fn refused(run: &Run, reason: &str) {
    assert_eq!(run.code, 1, "{run}");
    assert!(run.stderr.contains(reason), "{run}");
    assert_eq!(run.stderr.matches("error: ").count(), 1, "{run}");
}

/// A batch, and the command that issues it.
struct Batch<'a> {
    home: &'a Home,
    name: String,
    format: &'static str,
    devices: usize,
    folder: &'static str,
}

/// What an output holds of one device.
struct Delivered {
    id: String,
    certificate: String,
    key: String,
}

impl<'a> Batch<'a> {
    fn new(home: &'a Home, name: &str, format: &'static str, devices: usize) -> Self {
        if format == "sealed" && !home.path("identity").exists() {
            home.tool("age-keygen", "-o identity").ok();
        }
        Self {
            home,
            name: name.to_owned(),
            format,
            devices,
            folder: ".",
        }
    }

    /// The same batch with its output in another folder.
    fn in_folder(self, folder: &'static str) -> Self {
        Self { folder, ..self }
    }

    fn out(&self) -> String {
        let Self { folder, name, .. } = self;
        match *folder {
            "." => format!("{name}.{}", self.format),
            folder => format!("{folder}/{name}.{}", self.format),
        }
    }

    fn line(&self) -> String {
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
        format!(
            "issue --prefix {name}: --count {devices} --authority factory --batch {name} {form} --out {out}"
        )
    }

    #[track_caller]
    fn run(&self) -> Run {
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

    fn start(&self) -> Child {
        let mut command = self.home.command(&self.line());
        // A pipe that nobody reads is soon full, and its batch does not end.
        let stdout = match self.format {
            "pipe" => Stdio::piped(),
            _ => Stdio::null(),
        };
        let child = command.stdout(stdout).stderr(Stdio::piped()).spawn();
        child.expect("dps-pki starts")
    }

    /// Starts a run, and returns when its output has begun to grow.
    fn start_and_see(&self) -> Child {
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
    fn cut(&self, after: Duration) -> bool {
        let mut child = self.start();
        // The moment of the accident, not a way to wait for something.
        thread::sleep(after);
        child.kill().expect("SIGKILL");
        child.wait().expect("it has ended").signal().is_some()
    }

    /// The same, with the time counted from when the output grows.
    fn cut_while_it_writes(&self, after: Duration) -> bool {
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
    fn time(&self) -> Duration {
        let start = Instant::now();
        self.run().ok();
        start.elapsed()
    }

    /// Checks a batch that is complete against its input and the inventory, and that running it again
    /// changes nothing; returns how many certificates were voided on the way.
    #[track_caller]
    fn check(&self) -> usize {
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
        let (before, digest) = (files(), self.digest());
        let left = |file: &&String| file.ends_with(".part") || file.ends_with(".lock");
        assert_eq!(before.iter().find(left), None);
        let run = self.run().ok();
        assert!(run.stderr.contains("is complete already"), "{run}");
        assert_eq!((files(), self.digest()), (before, digest));
        assert_eq!(entries(self.home, &self.name).len(), recorded);
    }

    /// The registration IDs of its input, in order.
    fn ids(&self) -> Vec<String> {
        let (name, width) = (&self.name, self.devices.to_string().len());
        let id = |number| format!("{name}:{number:0width$}");
        (1..=self.devices).map(id).collect()
    }

    fn digest(&self) -> String {
        let out = self.out();
        let file = match self.format {
            "dir" => format!("{out}/SHA256SUMS"),
            _ => out,
        };
        self.home.tool("sha256sum", &file).ok().stdout
    }

    /// What the output holds, in its order.
    fn output(&self) -> Vec<Delivered> {
        let (home, out) = (self.home, self.out());
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
        let (serial, thumbprint) = (certificate.serial_number(), certificate.sha256_thumbprint());
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
fn entries(home: &Home, batch: &str) -> Vec<InventoryEntry> {
    let inventory = SqliteInventory::open(&home.path("inventory.db")).expect("an inventory");
    let filter = Filter {
        batch: Some(batch.parse().expect("a name")),
        ..Filter::default()
    };
    let (mut found, mut after) = (Vec::new(), None);
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

/// A disk in memory that is soon full.
struct SmallDisk {
    home: Home,
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one; `None`, visibly, for users who may not. In CI it must be possible.
    #[expect(clippy::print_stderr, reason = "what is skipped is said")]
    fn mount(path: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir_all(&path).expect("a folder");
        let disk = Self {
            home: Home::empty(),
            path,
        };
        let mounted = disk.call("mount", &format!("-t tmpfs -o size={size} tmpfs"));
        if mounted.code != 0 {
            assert!(
                std::env::var_os("CI").is_none(),
                "CI may not skip: {mounted}"
            );
            eprintln!("skipped: a tmpfs cannot be mounted here");
            return None;
        }
        Some(disk)
    }

    fn resize(&self, size: &str) {
        self.call("mount", &format!("-o remount,size={size}")).ok();
    }

    fn call(&self, program: &str, flags: &str) -> Run {
        let path = self.path.display();
        self.home.tool(program, &format!("{flags} {path}"))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Detached even if something still looks at it; fails only if it was not mounted.
        self.call("umount", "--lazy");
    }
}

/// Chooses moments, the same ones in every run of the tests.
struct Moments(u64);

impl Moments {
    /// A moment before a time has passed, by splitmix64.
    fn within(&mut self, time: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let permille = u32::try_from((mixed ^ (mixed >> 31)) % 1000).expect("small");
        time * permille / 1000
    }
}
