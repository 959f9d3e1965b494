//! A device as seen by DPS: a certificate, a key, and curl.

use serde_json::{Value, json};

use crate::emulator::Emulator;
use crate::home::Home;
use crate::http::HttpAnswer;

/// A device that speaks the device API 2021-06-01 over HTTPS, with plain curl.
#[derive(Debug, Clone, Copy)]
pub struct Device<'a> {
    home: &'a Home,
    emulator: &'a Emulator,
    id: &'a str,
    files: &'a str,
    flags: &'a str,
}

impl<'a> Device<'a> {
    /// More polls than any registration here takes.
    const MOST_POLLS: usize = 10;

    /// A device whose files are in the folder `devices` of a home.
    pub fn new(home: &'a Home, emulator: &'a Emulator, id: &'a str) -> Self {
        Self {
            home,
            emulator,
            id,
            files: id,
            flags: "",
        }
    }

    /// The same device with another leaf and key: those in files of this name.
    #[must_use]
    pub fn with_files(self, files: &'a str) -> Self {
        Self { files, ..self }
    }

    /// The same device with more flags for curl, such as a TLS version.
    #[must_use]
    pub fn with_flags(self, flags: &'a str) -> Self {
        Self { flags, ..self }
    }

    /// `PUT …/register`: one request.
    pub fn ask_to_register(&self) -> HttpAnswer {
        self.put_register(Identity::Own)
    }

    /// The same without a certificate.
    pub fn ask_without_certificate(&self) -> HttpAnswer {
        self.put_register(Identity::None)
    }

    /// One poll of an operation.
    pub fn poll(&self, operation: &str) -> HttpAnswer {
        self.curl(
            "GET",
            None,
            &format!("/operations/{operation}"),
            Identity::Own,
        )
    }

    /// Registers and polls until DPS has decided: `assigned`, `failed`, `disabled`, or `refused` if it
    /// was turned away at the door.
    pub fn register(&self) -> String {
        let mut answer = self.ask_to_register();
        let operation = answer.body["operationId"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        for _ in 0..Self::MOST_POLLS {
            match (answer.code, answer.body["status"].as_str()) {
                (401, _) => return "refused".to_owned(),
                (202, Some("assigning")) => answer = self.poll(&operation),
                (200, Some(status)) => return status.to_owned(),
                _ => panic!("{answer:?}"),
            }
        }
        panic!("still assigning after {} polls", Self::MOST_POLLS);
    }

    /// Registers until no device is left on the old generation of an authority: within one second nobody
    /// can tell whether that was before its new leaf or after.
    #[track_caller]
    pub fn register_until_moved(&self, authority: &str) {
        const MOST: usize = 100;
        let is_moved = || {
            assert_eq!(self.register(), "assigned");
            let status = self.home.json(&format!("roll status {authority}"));
            status[0]["leftBehind"]["count"] == 0
        };
        assert!((0..MOST).any(|_| is_moved()), "{} does not move", self.id);
    }

    /// Asks a hub by its name for what is below the device there, in the API version of IoT Edge.
    pub fn ask_hub(&self, hub: &str, method: &str, path: &str, body: Option<&Value>) -> HttpAnswer {
        let Self {
            id, files, flags, ..
        } = self;
        let (_, port) = self.emulator.address().rsplit_once(':').expect("a port");
        let flags = format!(
            "-X {method} --resolve {hub}:{port}:127.0.0.1 --cert devices/{files}-full-chain.cert.pem \
             --key devices/{files}.key.pem {flags}"
        );
        let url = format!("https://{hub}:{port}/devices/{id}{path}?api-version=2017-11-08-preview");
        HttpAnswer::of(self.home, &flags, body, &url)
    }

    fn put_register(&self, identity: Identity) -> HttpAnswer {
        let body = json!({ "registrationId": self.id });
        self.curl("PUT", Some(&body), "/register", identity)
    }

    fn curl(
        &self,
        method: &str,
        body: Option<&Value>,
        path: &str,
        identity: Identity,
    ) -> HttpAnswer {
        let Self {
            id, files, flags, ..
        } = self;
        let identity = match identity {
            Identity::Own => {
                format!("--cert devices/{files}-full-chain.cert.pem --key devices/{files}.key.pem")
            }
            Identity::None => String::new(),
        };
        let address = self.emulator.address();
        let scope = self.emulator.id_scope();
        let url =
            format!("https://{address}/{scope}/registrations/{id}{path}?api-version=2021-06-01");
        HttpAnswer::of(
            self.home,
            &format!("-X {method} {identity} {flags}"),
            body,
            &url,
        )
    }
}

/// What a device shows when it connects.
enum Identity {
    Own,
    None,
}
