//! ETags as the planes were recorded to write them. Every one is made once: a counter is in each.

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
    /// For an enrollment, a group, a registration record or a CA certificate: base64 of a quoted word of
    /// five hex groups.
    pub(crate) fn record(&mut self, now: Time) -> Etag {
        let seconds = now.unix_seconds() & 0xffff_ffff;
        let word = format!("\"{:08x}-0000-0100-0000-{seconds:08x}0000\"", self.next());
        Etag::new(STANDARD.encode(word))
    }

    /// For the service as an ARM resource: base64 of eight octets.
    pub(crate) fn resource(&mut self) -> Etag {
        Etag::new(STANDARD.encode(self.next().to_be_bytes()))
    }

    /// For a hub's device identity: base64 of a number in decimal.
    pub(crate) fn device(&mut self) -> Etag {
        Etag::new(STANDARD.encode(self.next().to_string()))
    }

    fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }
}

/// The number in a device identity's tag, or the tag as it was given if it holds none.
pub(crate) fn device_version(etag: &Etag) -> String {
    let bare = etag.as_str().trim_matches('"');
    let decoded = STANDARD.decode(bare).ok();
    let number = decoded
        .and_then(|octets| String::from_utf8(octets).ok())
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    number.unwrap_or_else(|| bare.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_have_the_shape_of_their_plane_and_are_never_equal() {
        let now = Time::from_unix_seconds(1_600_858_711).expect("time");
        let mut mint = EtagMint::default();
        let first = mint.record(now);
        let second = mint.record(now);
        let word = STANDARD.decode(first.as_str()).expect("base64");
        assert_eq!(word, b"\"00000001-0000-0100-0000-5f6b2a570000\"");
        assert_ne!(first, second);
        assert_eq!(mint.resource().as_str(), "AAAAAAAAAAM=");
        let device = mint.device();
        assert_eq!((device.as_str(), &*device_version(&device)), ("NA==", "4"));
        assert_eq!(device_version(&Etag::new("\"stale\"")), "stale");
    }
}
