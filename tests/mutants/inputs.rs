//! The wrong inputs: of each kind of file, and what reads it.

use std::path::{Path, PathBuf};

use crate::mutants::home::MutantHome;

/// One wrong input.
pub(super) struct Mutant {
    pub(super) name: String,
    /// Which file of the home it is, or stands in for.
    pub(super) file: &'static str,
    pub(super) content: Content,
    pub(super) line: String,
}

pub(super) enum Content {
    Octets(Vec<u8>),
    /// These, and then 10 MB in one line, which are made when they are needed.
    Long(Vec<u8>),
    Missing,
    Folder,
    Pipe,
    SymlinkLoop,
}

/// What a kind of input is read by; `{}` is the file.
const OF_CERTIFICATES: [&str; 3] = ["verify {} --anchor root.pem", "lint {}", "inspect {}"];
const OF_REQUESTS: [&str; 2] = ["sign {} --authority factory --out devices", "inspect {}"];
const OF_LISTS: [&str; 1] =
    ["issue --devices {} --authority factory --out batch.ndjson --plain-keys"];
const OF_CRLS: [&str; 2] = ["verify chain.pem --crl {} --anchor root.pem", "inspect {}"];
const OF_HOMES: [&str; 1] = ["issue sensor-7 --authority factory --out devices"];

pub(super) fn mutants(home: &MutantHome) -> Vec<Mutant> {
    let mut all = Mutants::default();
    for (file, commands) in [
        ("leaf.der", &OF_CERTIFICATES[..]),
        ("request.der", &OF_REQUESTS),
        ("factory.crl.der", &OF_CRLS),
    ] {
        all.of_der(file, &home.octets(file), commands);
    }
    for (file, commands) in [
        ("leaf.pem", &OF_CERTIFICATES[..2]),
        ("request.pem", &OF_REQUESTS[..1]),
        ("factory.crl", &OF_CRLS[..1]),
    ] {
        all.of_pem(file, &home.octets(file), commands);
    }
    for (file, commands) in [
        ("leaf.pem", &OF_CERTIFICATES[..]),
        ("request.pem", &OF_REQUESTS),
        ("factory.crl", &OF_CRLS),
        ("devices.csv", &OF_LISTS),
        ("pki.toml", &OF_HOMES),
        ("secret", &OF_HOMES),
        (home.key_of("factory"), &OF_HOMES),
    ] {
        all.of_the_file_system(file, commands);
    }
    all.of_text("devices.csv", &home.octets("devices.csv"), &OF_LISTS);
    all.of_text("pki.toml", &home.octets("pki.toml"), &OF_HOMES);
    all.of_lists();
    all.of_declarations(&home.text("pki.toml"));
    all.of_keys(home);
    all.of_chains();
    all.0
}

#[derive(Default)]
struct Mutants(Vec<Mutant>);

impl Mutants {
    fn add(&mut self, name: &str, file: &'static str, content: Content, commands: &[&str]) {
        let count = self.0.len();
        // One command each; the next mutant is for the next one.
        let command = commands[count % commands.len()];
        self.0.push(Mutant {
            name: format!("{count} {file} {name}"),
            file,
            content,
            line: command.replace("{}", file),
        });
    }

    fn octets(&mut self, name: &str, file: &'static str, octets: Vec<u8>, commands: &[&str]) {
        self.add(name, file, Content::Octets(octets), commands);
    }

    fn of_der(&mut self, file: &'static str, der: &[u8], commands: &[&str]) {
        for part in 1..=15 {
            self.octets(
                "truncated",
                file,
                der[..der.len() * part / 16].to_vec(),
                commands,
            );
        }
        for tail in [&b"\0"[..], b"\x30\x00", b"trailing", b"\n0"] {
            self.octets("with trailing octets", file, [der, tail].concat(), commands);
        }
        for place in lengths(der).into_iter().take(8) {
            for change in [1u8, 0x7f, 0x80, 0xff] {
                let mut lying = der.to_vec();
                lying[place] = lying[place].wrapping_add(change);
                self.octets("with a length that lies", file, lying, commands);
            }
        }
        for (name, tag) in [
            ("a SET", 0x31),
            ("an OCTET STRING", 0x04),
            ("nothing", 0x00),
        ] {
            let mut other = der.to_vec();
            other[0] = tag;
            self.octets(name, file, other, commands);
        }
    }

    fn of_pem(&mut self, file: &'static str, pem: &[u8], commands: &[&str]) {
        let text = String::from_utf8_lossy(pem).into_owned();
        let begin = text.lines().next().unwrap_or_default().to_owned();
        let label = begin
            .trim_start_matches("-----BEGIN ")
            .trim_end_matches('-')
            .to_owned();
        for other in [
            "PRIVATE KEY",
            "PKCS7",
            "SOMETHING",
            "PUBLIC KEY",
            "DH PARAMETERS",
        ] {
            let wrong = text.replace(&label, other);
            self.octets("with a wrong label", file, wrong.into_bytes(), commands);
        }
        let body = begin.len() + 1;
        for (name, wrong) in [
            ("cut off", text[..text.len() / 2].to_owned()),
            ("without its end", text[..text.len() - 20].to_owned()),
            (
                "with a NUL in its base64",
                format!("{begin}\n\0{}", &text[body..]),
            ),
            (
                "with an umlaut in its base64",
                format!("{begin}\nä{}", &text[body..]),
            ),
            (
                "with a missing letter",
                format!("{begin}\n{}", &text[body + 1..]),
            ),
            ("only blanks", " \r\n\t".repeat(100)),
        ] {
            self.octets(name, file, wrong.into_bytes(), commands);
        }
        let head = format!("{begin}\n").into_bytes();
        self.add("in a line of 10 MB", file, Content::Long(head), commands);
        self.add(
            "10 MB of nothing",
            file,
            Content::Long(Vec::new()),
            commands,
        );
    }

    fn of_the_file_system(&mut self, file: &'static str, commands: &[&str]) {
        self.octets("empty", file, Vec::new(), commands);
        self.add("missing", file, Content::Missing, commands);
        self.add("a folder", file, Content::Folder, commands);
        self.add("a pipe", file, Content::Pipe, commands);
        self.add("a symlink loop", file, Content::SymlinkLoop, commands);
    }

    fn of_text(&mut self, file: &'static str, text: &[u8], commands: &[&str]) {
        for part in [3, 5, 7] {
            let place = text.len() * part / 8;
            for (name, octets) in [
                ("a NUL", &b"\0"[..]),
                ("invalid UTF-8", b"\xff\xfe"),
                ("half a letter", b"\xc3"),
            ] {
                let wrong = [&text[..place], octets, &text[place..]].concat();
                self.octets(&format!("with {name}"), file, wrong, commands);
            }
        }
        let long = Content::Long(text.to_vec());
        self.add("with a line of 10 MB", file, long, commands);
        self.octets(
            "with a quote that is never closed",
            file,
            [text, b"\"never closed"].concat(),
            commands,
        );
    }

    fn of_lists(&mut self) {
        for wrong in [
            "registration_id\nsensor/9\n",
            "registration_id\nsensor-9.\n",
            "registration_id\nsensor-9\nSENSOR-9\n",
            "registration_id,profile\nsensor-9,nobody\n",
            "registration_id,validity\nsensor-9,soon\n",
            "registration_id,validity\nsensor-9,99999y\n",
            "registration_id,registration_id\nsensor-9,sensor-8\n",
            "registration_id,profile\nsensor-9\n",
            "registration_id\n../../etc/passwd\n",
            "registration_id\nsensor 9\n",
        ] {
            self.octets("", "devices.csv", wrong.as_bytes().to_vec(), &OF_LISTS);
        }
    }

    fn of_declarations(&mut self, text: &str) {
        for (from, to) in [
            ("ecdsa-p256", "rsa-512"),
            ("ecdsa-p256", "dsa"),
            ("[authority.factory]", "[authority.root]"),
            ("[authority.factory]", "[autority.factory]"),
            ("issuer = \"root\"", "issuer = \"factory\""),
            ("issuer = \"root\"", "issuer = \"nobody\""),
            ("validity = \"2y\"", "validity = \"20y\""),
            ("validity = \"2y\"", "validity = \"0s\""),
            ("validity = \"2y\"", "validity = 2"),
            ("path-length = 0", "path-length = 256"),
            ("path-length = 0", "path-length = -1"),
            ("CN=Factory", "O=Factory"),
            ("CN=Factory", "C=Germany, CN=Factory"),
            ("\"client-auth\"", "\"any\""),
            ("\"client-auth\"", ""),
            ("path-length = 0", "path-length = 0\npath-length = 0"),
        ] {
            assert!(text.contains(from), "{from}");
            let wrong = text.replacen(from, to, 1);
            let wrong = match from {
                "ecdsa-p256" | "validity = \"2y\"" => text.replace(from, to),
                _ => wrong,
            };
            self.octets(
                &format!("{from} -> {to}"),
                "pki.toml",
                wrong.into_bytes(),
                &OF_HOMES,
            );
        }
    }

    /// What should open an authority's key, or be one.
    fn of_keys(&mut self, home: &MutantHome) {
        for wrong in [
            "not it",
            "\n",
            "tests-never",
            "\0",
            " ",
            "\u{feff}tests-never-guess-these-texts",
        ] {
            self.octets("wrong passphrase", "secret", wrong.into(), &OF_HOMES);
        }
        let own = home.key_of("factory");
        let key = home.octets(own);
        for part in 1..=6 {
            self.octets(
                "truncated",
                own,
                key[..key.len() * part / 7].to_vec(),
                &OF_HOMES,
            );
        }
        for (name, other) in [
            ("another authority's key", home.octets(home.key_of("root"))),
            ("a device's key", home.octets("devices/sensor-1.key.pem")),
            ("an RSA key of 512 bits", home.octets("rsa-512.pem")),
            ("a certificate", home.octets("root.pem")),
        ] {
            self.octets(name, own, other, &OF_HOMES);
        }
        for place in [0, 1, 2] {
            let mut broken = home.octets("request.der");
            let last = broken.len() - 1 - place;
            broken[last] ^= 1;
            self.octets("wrong signature", "request.der", broken, &OF_REQUESTS[..1]);
        }
        let weak = home.octets("rsa-512.csr");
        self.octets("RSA with 512 bits", "request.pem", weak, &OF_REQUESTS[..1]);
    }

    /// Chains and certificates that `fixtures/hostile` holds: every rule of a path broken once.
    fn of_chains(&mut self) {
        const ONLY_WARNED_OF: [&str; 2] = ["certgen-device.cert.pem", "long-lived.cert.pem"];
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/hostile");
        let entries = std::fs::read_dir(&folder).expect("fixtures");
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("entry").path()).collect();
        paths.sort();
        for path in paths
            .iter()
            .filter(|path| path.extension().is_some_and(|end| end == "pem"))
        {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .expect("UTF-8");
            let octets = std::fs::read(path).expect("fixture");
            if name.ends_with(".chain.pem") {
                let commands = [
                    "verify {} --anchor hostile-root.pem --purpose any --lenient",
                    "verify {} --anchor hostile-root.pem",
                ];
                for command in commands {
                    self.octets(name, "leaf.pem", octets.clone(), &[command]);
                }
            } else if !ONLY_WARNED_OF.contains(&name) {
                self.octets(name, "leaf.pem", octets, &["lint {} --as leaf"]);
            }
        }
    }
}

/// Where the lengths of the outermost structures stand, in the order of the encoding.
fn lengths(der: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    walk(der, 0, der.len(), &mut found);
    found
}

fn walk(der: &[u8], mut place: usize, end: usize, found: &mut Vec<usize>) {
    while place + 1 < end {
        found.push(place + 1);
        let (header, length) = match der[place + 1] {
            short @ 0..=0x7f => (2, usize::from(short)),
            0x81 => (3, usize::from(der[place + 2])),
            _ => (
                4,
                usize::from(der[place + 2]) << 8 | usize::from(der[place + 3]),
            ),
        };
        let content = place + header;
        if der[place] & 0x20 != 0 {
            walk(der, content, content + length, found);
        }
        place = content + length;
    }
}
