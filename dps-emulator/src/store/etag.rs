//! ETags as the planes write them. Every one is made once: a counter is in each.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pki_core::ids::Etag;
use pki_core::time::Time;
use serde::{Deserialize, Serialize};

/// Makes ETags that were never made before by this instance.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct EtagMint {
    counter: u64,
}

impl EtagMint {
    /// For an enrollment or group: the quotes are part of the JSON string.
    pub(crate) fn enrollment(&mut self, now: Time) -> Etag {
        Etag::new(self.quoted(now))
    }

    /// For a registration record: base64 of the quoted form.
    pub(crate) fn registration(&mut self, now: Time) -> Etag {
        Etag::new(STANDARD.encode(self.quoted(now)))
    }

    /// For ARM resources and hub devices: base64 of eight octets.
    pub(crate) fn resource(&mut self) -> Etag {
        Etag::new(STANDARD.encode(self.next().to_be_bytes()))
    }

    fn quoted(&mut self, now: Time) -> String {
        let seconds = now.unix_seconds() & 0xffff_ffff;
        format!("\"{:08x}-0000-0100-0000-{seconds:08x}0000\"", self.next())
    }

    fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_have_the_shape_of_their_plane_and_are_never_equal() {
        let now = Time::from_unix_seconds(1_600_858_711).expect("time");
        let mut mint = EtagMint::default();
        let (first, second) = (mint.enrollment(now), mint.registration(now));
        assert_eq!(first.as_str(), "\"00000001-0000-0100-0000-5f6b2a570000\"");
        assert!(second.as_str().starts_with("Ij"));
        assert_ne!(first, second);
        assert_eq!(mint.resource().as_str(), "AAAAAAAAAAM=");
    }
}
