//! A device as seen by DPS: a certificate, a key, and curl.

use serde_json::{Value, json};

use crate::emulator::Emulator;
use crate::home::Home;

/// A device that speaks the device API 2021-06-01 over HTTPS, with plain curl.
#[derive(Debug, Clone, Copy)]
pub struct Device<'a> {
    home: &'a Home,
    emulator: &'a Emulator,
    id: &'a str,
    flags: &'a str,
}

/// What an HTTP server answered.
#[derive(Debug)]
pub struct HttpAnswer {
    /// The status.
    pub code: u16,
    /// The body, which is always JSON here.
    pub body: Value,
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
            flags: "",
        }
    }

    /// The same device with more flags for curl, such as a TLS version.
    #[must_use]
    pub fn with_flags(self, flags: &'a str) -> Self {
        Self { flags, ..self }
    }

    /// `PUT …/register`: one request.
    pub fn ask_to_register(&self) -> HttpAnswer {
        let body = json!({ "registrationId": self.id }).to_string();
        self.curl(&format!("-X PUT --data {body}"), "/register", true)
    }

    /// The same without a certificate.
    pub fn ask_without_certificate(&self) -> HttpAnswer {
        let body = json!({ "registrationId": self.id }).to_string();
        self.curl(&format!("-X PUT --data {body}"), "/register", false)
    }

    /// One poll of an operation.
    pub fn poll(&self, operation: &str) -> HttpAnswer {
        self.curl("", &format!("/operations/{operation}"), true)
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

    fn curl(&self, request: &str, path: &str, with_certificate: bool) -> HttpAnswer {
        let Self { id, flags, .. } = self;
        let identity = match with_certificate {
            true => format!("--cert devices/{id}-full-chain.cert.pem --key devices/{id}.key.pem"),
            false => String::new(),
        };
        let (address, scope) = (self.emulator.address(), self.emulator.id_scope());
        let url =
            format!("https://{address}/{scope}/registrations/{id}{path}?api-version=2021-06-01");
        let line = format!(
            "--silent --show-error --max-time 30 --cacert emulator-ca.pem {identity} {flags} {request} \
             --header content-type:application/json --write-out %{{stderr}}%{{http_code}} {url}"
        );
        let run = self.home.tool("curl", &line).ok();
        HttpAnswer {
            code: run.stderr.trim().parse().expect("a status"),
            body: run.json(),
        }
    }
}
