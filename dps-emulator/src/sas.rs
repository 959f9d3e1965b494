//! Shared access signatures: tokens read and verified, device keys derived.
//!
//! `SharedAccessSignature sr=..&sig=..&se=..&skn=..`, members in any order. The signature is
//! HMAC-SHA256 over `sr` exactly as it stands in the token, a line feed and `se`
//! ([control access](https://learn.microsoft.com/azure/iot-dps/how-to-control-access)).
//! Whose keys a token is verified with is decided by the callers.
//! Invariant: a key is the base64-decoded octets, never the text.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use pki_core::enrollment::{SymmetricKey, SymmetricKeys};
use pki_core::ids::RegistrationId;
use pki_core::time::Time;

const SCHEME: &str = "SharedAccessSignature ";

/// A token as it was sent.
#[derive(Debug)]
pub(crate) struct SasToken<'a> {
    resource: &'a str,
    signature: Vec<u8>,
    expiry: &'a str,
    policy: Option<String>,
}

impl<'a> SasToken<'a> {
    /// Reads the value of an `Authorization` header, or `None` if it is no complete token.
    pub(crate) fn parse(header: &'a str) -> Option<Self> {
        let (scheme, members) = header.split_at_checked(SCHEME.len())?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return None;
        }
        let member = |name: &str| {
            members
                .split('&')
                .find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
        };
        Some(Self {
            resource: member("sr")?,
            signature: STANDARD.decode(decoded(member("sig")?)?).ok()?,
            expiry: member("se")?,
            policy: member("skn").and_then(decoded),
        })
    }

    /// The policy that the token names.
    pub(crate) fn policy(&self) -> Option<&str> {
        self.policy.as_deref()
    }

    /// The first second in which the token is void.
    pub(crate) fn expiry(&self) -> Option<Time> {
        Time::from_unix_seconds(self.expiry.parse().ok()?).ok()
    }

    /// Whether the token has not ended; its expiry is the first second in which it is void.
    pub(crate) fn is_live(&self, at: Time) -> bool {
        self.expiry
            .parse::<i64>()
            .is_ok_and(|expiry| at.unix_seconds() < expiry)
    }

    /// Whether one of the two keys made the signature.
    pub(crate) fn is_signed_by_any(&self, keys: &SymmetricKeys) -> bool {
        let keys = [&keys.primary_key, &keys.secondary_key];
        keys.into_iter().flatten().any(|key| self.is_signed_by(key))
    }

    fn is_signed_by(&self, key: &SymmetricKey) -> bool {
        let Ok(octets) = STANDARD.decode(key.expose_base64()) else {
            return false;
        };
        let message = format!("{}\n{}", self.resource, self.expiry);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &octets);
        hmac::verify(&key, message.as_bytes(), &self.signature).is_ok()
    }

    /// Whether the token's resource is one of `hosts`, or a prefix of `path` below one by whole
    /// segments. Ports are ignored (a container's port need not be the one outside), and case.
    pub(crate) fn covers<'h>(
        &self,
        hosts: impl IntoIterator<Item = &'h str>,
        path: &[String],
    ) -> bool {
        let Some((host, rest)) = self.host_and_path() else {
            return false;
        };
        let name = without_port(&host);
        hosts
            .into_iter()
            .any(|known| known.eq_ignore_ascii_case(name))
            && is_prefix(&rest, path)
    }

    /// Whether the token's resource is `{id_scope}/registrations/{id}`, or a prefix of it.
    pub(crate) fn covers_registration(&self, id_scope: &str, id: &RegistrationId) -> bool {
        let expected = [id_scope, "registrations", id.as_str()].map(str::to_owned);
        self.host_and_path().is_some_and(|(scope, rest)| {
            scope.eq_ignore_ascii_case(id_scope) && is_prefix(&rest, &expected[1..])
        })
    }

    fn host_and_path(&self) -> Option<(String, Vec<String>)> {
        let resource = decoded(self.resource)?;
        let mut segments = resource
            .split('/')
            .filter(|segment| !segment.is_empty())
            .map(str::to_owned);
        Some((segments.next()?, segments.collect()))
    }
}

/// The keys of one device of a group: HMAC-SHA256 of its registration ID under each group key. The
/// second pair is derived from the ID in lower case, as Microsoft's scripts do.
pub(crate) fn derived_keys(group: &SymmetricKeys, id: &RegistrationId) -> [SymmetricKeys; 2] {
    [id.as_str().to_owned(), id.folded()].map(|spelling| {
        let derive = |key: &SymmetricKey| derived_key(key, &spelling);
        SymmetricKeys {
            primary_key: group.primary_key.as_ref().and_then(derive),
            secondary_key: group.secondary_key.as_ref().and_then(derive),
            ..SymmetricKeys::default()
        }
    })
}

fn derived_key(group: &SymmetricKey, id: &str) -> Option<SymmetricKey> {
    let octets = STANDARD.decode(group.expose_base64()).ok()?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, &octets);
    let tag = hmac::sign(&key, id.as_bytes());
    Some(SymmetricKey::from_base64(STANDARD.encode(tag)))
}

fn decoded(text: &str) -> Option<String> {
    let text = percent_decode_str(text).decode_utf8().ok()?;
    Some(text.into_owned())
}

pub(crate) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn is_prefix(prefix: &[String], path: &[String]) -> bool {
    prefix.len() <= path.len()
        && prefix
            .iter()
            .zip(path)
            .all(|(left, right)| left.eq_ignore_ascii_case(right))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, proptest};
    use proptest::sample::Index;

    use super::*;

    fn time(seconds: i64) -> Time {
        Time::from_unix_seconds(seconds).expect("time")
    }

    fn token(resource: &str, key: &[u8], expiry: i64) -> String {
        let message = format!("{resource}\n{expiry}");
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message.as_bytes());
        let signature = STANDARD
            .encode(tag)
            .replace('+', "%2B")
            .replace('/', "%2f")
            .replace('=', "%3D");
        format!("SharedAccessSignature sig={signature}&se={expiry}&skn=owner&sr={resource}")
    }

    fn keys(primary: &[u8]) -> SymmetricKeys {
        SymmetricKeys {
            primary_key: Some(SymmetricKey::from_base64(STANDARD.encode(primary))),
            ..SymmetricKeys::default()
        }
    }

    /// The signature covers the resource as it stands, encoded or not.
    #[test]
    fn the_signature_covers_the_resource_as_it_stands() {
        for resource in [
            "host",
            "scope%2Fregistrations%2fdev",
            "scope/registrations/dev",
        ] {
            let text = token(resource, b"key", 100);
            let token = SasToken::parse(&text).expect("token");
            assert!(token.is_signed_by_any(&keys(b"key")), "{resource}");
            assert!(!token.is_signed_by_any(&keys(b"other")), "{resource}");
        }
    }

    #[test]
    fn a_token_is_void_from_its_expiry_on() {
        let text = token("host", b"key", 100);
        let token = SasToken::parse(&text).expect("token");
        assert!(token.is_live(time(99)));
        assert!(!token.is_live(time(100)));
    }

    #[test]
    fn a_resource_covers_whole_segments_below_its_host() {
        let path = ["enrollments", "dev-1"].map(str::to_owned);
        for (resource, covers) in [
            ("host", true),
            ("HOST:8443", true),
            ("host/enrollments", true),
            ("host/enroll", false),
            ("host/enrollments/dev-2", false),
            ("other", false),
        ] {
            let text = token(resource, b"key", 100);
            let token = SasToken::parse(&text).expect("token");
            assert_eq!(token.covers(["host"], &path), covers, "{resource}");
        }
    }

    #[test]
    fn a_broken_header_is_no_token() {
        for header in ["", "Bearer x", "SharedAccessSignature sr=a&se=1", "Ärger"] {
            assert!(SasToken::parse(header).is_none(), "{header}");
        }
    }

    proptest! {
        /// What is changed in a token is refused, or was not signed.
        #[test]
        fn no_mutant_of_a_token_means_another_thing(
            changes in vec((any::<Index>(), b' '..b'~'), 1..4),
        ) {
            let mut octets = token("host/a%2Fb", b"key", 100).into_bytes();
            for (place, octet) in changes {
                *place.get_mut(&mut octets) = octet;
            }
            let text = String::from_utf8(octets).expect("ASCII");
            if let Some(token) = SasToken::parse(&text) {
                let _ = (token.is_live(time(99)), token.covers(["host"], &[]));
                if token.is_signed_by_any(&keys(b"key")) {
                    assert_eq!((token.resource, token.expiry), ("host/a%2Fb", "100"));
                }
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _ = SasToken::parse(&format!("{SCHEME}sr={text}&sig={text}&se={text}"));
        }
    }
}
