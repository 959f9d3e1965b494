//! User names, by which a connection says what it is for.
//!
//! To DPS `{idScope}/registrations/{registrationId}/api-version=..&ClientVersion=..`, to a hub
//! `{hub}/{deviceId}/?api-version=..`; further parameters are the SDKs' own and mean nothing here.

use percent_encoding::percent_decode_str;
use pki_core::ids::{DeviceId, RegistrationId};

/// Whom a connection is from and for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum User {
    /// A device that registers.
    Registration {
        id_scope: String,
        id: RegistrationId,
        api_version: String,
    },
    /// A device at its hub.
    Device { hub: String, id: DeviceId },
}

impl User {
    /// Reads a user name, or `None` if it has neither form.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let segments: Vec<&str> = name.split('/').collect();
        match segments.as_slice() {
            [scope, word, id, parameters] if word.eq_ignore_ascii_case("registrations") => {
                Some(Self::Registration {
                    id_scope: decoded(scope)?,
                    id: decoded(id)?.parse().ok()?,
                    api_version: parameter(parameters, "api-version")?,
                })
            }
            [hub, id] | [hub, id, _] => Some(Self::Device {
                hub: decoded(hub)?,
                id: decoded(id)?.parse().ok()?,
            }),
            _ => None,
        }
    }
}

/// The value of a parameter, decoded.
pub(super) fn parameter(parameters: &str, name: &str) -> Option<String> {
    decoded(raw_parameter(parameters, name)?)
}

/// The value of a parameter as it was sent.
pub(super) fn raw_parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    parameters
        .trim_start_matches('?')
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

fn decoded(text: &str) -> Option<String> {
    let text = percent_decode_str(text).decode_utf8().ok()?;
    Some(text.into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    /// As Microsoft's SDKs were seen to send them.
    #[test]
    fn user_names_of_the_sdks_are_read() {
        let python =
            "0ne00000000/registrations/dev-1/api-version=2019-03-31&ClientVersion=azure%2Fx";
        let expected = User::Registration {
            id_scope: "0ne00000000".to_owned(),
            id: "dev-1".parse().expect("an ID"),
            api_version: "2019-03-31".to_owned(),
        };
        assert_eq!(User::parse(python), Some(expected));
        for hub in [
            "hub-1.azure-devices.net/dev-1/?api-version=2019-10-01&DeviceClientType=x",
            "hub-1.azure-devices.net/dev-1/api-version=2016-11-14",
            "hub-1.azure-devices.net/dev-1",
        ] {
            let expected = User::Device {
                hub: "hub-1.azure-devices.net".to_owned(),
                id: "dev-1".parse().expect("an ID"),
            };
            assert_eq!(User::parse(hub), Some(expected), "{hub}");
        }
    }

    #[test]
    fn anything_else_is_nobodys_name() {
        for name in [
            "",
            "dev-1",
            "0ne00000000/registrations/dev-1/ClientVersion=x",
            "0ne00000000/registrations/dev 1/api-version=2019-03-31",
            "hub/dev-1/module-1/?api-version=2019-10-01",
            "hub/%ff/?api-version=2019-10-01",
        ] {
            assert_eq!(User::parse(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_name_makes_it_panic(name in any::<String>()) {
            let _ = User::parse(&name);
        }
    }
}
