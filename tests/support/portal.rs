//! Somebody else who changes DPS: not through `dps-pki`, and without telling.

use serde_json::Value;

use crate::emulator::Emulator;
use crate::home::Home;
use crate::http::HttpAnswer;

/// The service plane as a person at the Azure portal uses it. A local DPS takes any bearer token.
#[derive(Debug, Clone, Copy)]
pub struct Portal<'a> {
    home: &'a Home,
    emulator: &'a Emulator,
}

impl<'a> Portal<'a> {
    /// The portal of an emulator; curl runs in this home.
    pub fn new(home: &'a Home, emulator: &'a Emulator) -> Self {
        Self { home, emulator }
    }

    /// Reads a record, such as `enrollments/sensor-1`; `None` if there is none.
    pub fn find(&self, record: &str) -> Option<Value> {
        let answer = self.send("", None, record);
        match answer.code {
            200 => Some(answer.body),
            404 => None,
            _ => panic!("{answer:?}"),
        }
    }

    /// Writes a record, whatever is there.
    pub fn put(&self, record: &str, document: &Value) {
        let guard = match self.find(record) {
            Some(_) => "--header if-match:*",
            None => "",
        };
        let answer = self.send(&format!("-X PUT {guard}"), Some(document), record);
        assert_eq!(answer.code, 200, "{answer:?}");
    }

    /// Changes one member of a record that is there.
    pub fn set(&self, record: &str, member: &str, value: Value) {
        let mut document = self.find(record).expect(record);
        document[member] = value;
        self.put(record, &document);
    }

    fn send(&self, flags: &str, body: Option<&Value>, record: &str) -> HttpAnswer {
        let flags = format!("--oauth2-bearer portal {flags}");
        let address = self.emulator.address();
        let url = format!("https://{address}/{record}?api-version=2021-10-01");
        HttpAnswer::of(self.home, &flags, body, &url)
    }
}
