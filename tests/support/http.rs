//! Plain HTTPS by curl, so that what is tested does not also judge itself.

use serde_json::Value;

use crate::home::Home;

/// What an HTTP server answered.
#[derive(Debug)]
pub struct HttpAnswer {
    /// The status.
    pub code: u16,
    /// The body; null if there is none.
    pub body: Value,
}

impl HttpAnswer {
    /// Runs curl in a home with these flags; a body is sent as JSON.
    #[track_caller]
    pub(crate) fn of(home: &Home, flags: &str, body: Option<&Value>, url: &str) -> Self {
        let sending = match body {
            None => "",
            Some(body) => {
                home.write("tmp/body.json", body.to_string());
                "--header content-type:application/json --data @tmp/body.json"
            }
        };
        let line = format!(
            "--silent --show-error --max-time 30 --cacert emulator-ca.pem {flags} {sending} \
             --write-out %{{stderr}}%{{http_code}} {url}"
        );
        let run = home.tool("curl", &line).ok();
        Self {
            code: run.stderr.trim().parse().expect("a status"),
            body: if run.stdout.is_empty() {
                Value::Null
            } else {
                run.json()
            },
        }
    }
}
