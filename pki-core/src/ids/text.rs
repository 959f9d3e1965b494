//! Textual identifiers: what DPS, IoT Hub and `pki.toml` call things.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::str::FromStr;

use super::{IdError, shortened};
use crate::text::serde_as_text;

/// The rules of one kind of textual identifier.
struct Rules {
    what: &'static str,
    most: usize,
    allowed: &'static str,
    allows: fn(char) -> bool,
}

impl Rules {
    fn check(&self, text: &str) -> Result<(), IdError> {
        let what = self.what;
        if text.is_empty() {
            return Err(IdError::Empty { what });
        }
        let offender = text
            .chars()
            .enumerate()
            .find(|(_, character)| !(self.allows)(*character));
        if let Some((index, character)) = offender {
            return Err(IdError::Character {
                what,
                text: shortened(text),
                character,
                position: index + 1,
                allowed: self.allowed,
            });
        }
        let length = text.chars().count();
        if length > self.most {
            return Err(IdError::TooLong {
                what,
                text: shortened(text),
                length,
                most: self.most,
            });
        }
        Ok(())
    }

    fn form(&self, text: &str, problem: &'static str) -> IdError {
        IdError::Form {
            what: self.what,
            text: shortened(text),
            problem,
        }
    }
}

/// What every textual identifier has: a parser, a printer, and serde through both.
macro_rules! textual {
    ($name:ident) => {
        impl $name {
            /// The text as first written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:?})", stringify!($name), self.0)
            }
        }

        serde_as_text!($name);
    };
}

/// Equality, order and hash that ignore ASCII case, as DPS does for its record names.
macro_rules! case_insensitive {
    ($name:ident) => {
        impl $name {
            /// The text in lower case: one key for all spellings of one record.
            pub fn folded(&self) -> String {
                self.0.to_ascii_lowercase()
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.eq_ignore_ascii_case(&other.0)
            }
        }

        impl Eq for $name {}

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                // By the piece, since most hashers take a while for each call.
                for piece in self.0.as_bytes().chunks(64) {
                    let mut folded = [0; 64];
                    let folded = &mut folded[..piece.len()];
                    folded.copy_from_slice(piece);
                    folded.make_ascii_lowercase();
                    state.write(folded);
                }
                state.write_u8(0xff);
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                self.0
                    .bytes()
                    .map(|byte| byte.to_ascii_lowercase())
                    .cmp(other.0.bytes().map(|byte| byte.to_ascii_lowercase()))
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }
    };
}

/// A DPS record name: alphanumeric plus `- . _ :`, at most 128, ending in an alphanumeric or `-`.
const fn record_rules(what: &'static str) -> Rules {
    Rules {
        what,
        most: 128,
        allowed: "letters, digits and - . _ :",
        allows: |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':'),
    }
}

fn check_record(rules: &Rules, text: &str) -> Result<(), IdError> {
    rules.check(text)?;
    if text.ends_with(['.', '_', ':']) {
        return Err(rules.form(text, "must end in a letter, a digit or -"));
    }
    Ok(())
}

/// What DPS calls a device, and the subject CN of its leaf. Case-insensitive, at most 128
/// characters of `A-Z a-z 0-9 - . _ :`, the last one alphanumeric or `-`
/// ([DPS concepts](https://learn.microsoft.com/azure/iot-dps/concepts-service#registration-id)).
///
/// Records of devices with symmetric keys may have all 128; an ID that goes into a leaf is a
/// [`LeafName`].
///
/// ```
/// use pki_core::ids::RegistrationId;
/// let id: RegistrationId = "Line-7:0042".parse()?;
/// assert_eq!(id, "line-7:0042".parse()?);
/// assert_eq!(id.as_str(), "Line-7:0042");
/// assert!("sensor.".parse::<RegistrationId>().is_err());
/// # Ok::<(), pki_core::ids::IdError>(())
/// ```
#[derive(Clone)]
pub struct RegistrationId(String);

textual!(RegistrationId);
case_insensitive!(RegistrationId);

impl RegistrationId {
    const RULES: Rules = record_rules("registration ID");
}

impl FromStr for RegistrationId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        check_record(&Self::RULES, text)?;
        Ok(Self(text.to_owned()))
    }
}

/// The most characters of a common name (RFC 5280 appendix A.1, `ub-common-name`).
pub const LONGEST_COMMON_NAME: usize = 64;

/// A registration ID that fits a common name: the only kind that a leaf can have. Equal, ordered and
/// hashed as the ID itself.
///
/// ```
/// use pki_core::ids::LeafName;
/// let name: LeafName = "sensor-1".parse()?;
/// assert_eq!(name.as_str(), "sensor-1");
/// assert!("a".repeat(65).parse::<LeafName>().is_err());
/// # Ok::<(), pki_core::ids::IdError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LeafName(RegistrationId);

serde_as_text!(LeafName);

impl TryFrom<RegistrationId> for LeafName {
    type Error = IdError;

    fn try_from(id: RegistrationId) -> Result<Self, IdError> {
        // An ID is ASCII: its octets are its characters.
        let length = id.as_str().len();
        if length > LONGEST_COMMON_NAME {
            return Err(IdError::LongerThanCommonName { id, length });
        }
        Ok(Self(id))
    }
}

impl FromStr for LeafName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.parse::<RegistrationId>()?.try_into()
    }
}

/// It is a registration ID, and whatever takes one takes it.
impl Deref for LeafName {
    type Target = RegistrationId;

    fn deref(&self) -> &RegistrationId {
        &self.0
    }
}

impl From<LeafName> for RegistrationId {
    fn from(name: LeafName) -> Self {
        name.0
    }
}

impl fmt::Display for LeafName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of an enrollment group; the rules of [`RegistrationId`].
#[derive(Clone)]
pub struct EnrollmentGroupId(String);

textual!(EnrollmentGroupId);
case_insensitive!(EnrollmentGroupId);

impl EnrollmentGroupId {
    const RULES: Rules = record_rules("enrollment group ID");
}

impl FromStr for EnrollmentGroupId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        check_record(&Self::RULES, text)?;
        Ok(Self(text.to_owned()))
    }
}

/// A device in an IoT Hub's identity registry: case-sensitive, at most 128 characters
/// ([IoT Hub identity registry](https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-identity-registry)).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(String);

textual!(DeviceId);

impl DeviceId {
    const RULES: Rules = Rules {
        what: "device ID",
        most: 128,
        allowed: "letters, digits and - . % _ * ? ! ( ) , : = @ $ ' + #",
        allows: |c| c.is_ascii_alphanumeric() || "-.%_*?!(),:=@$'+#".contains(c),
    };
}

impl FromStr for DeviceId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::RULES.check(text)?;
        Ok(Self(text.to_owned()))
    }
}

impl From<&RegistrationId> for DeviceId {
    /// Every registration ID is a device ID; DPS uses it as such unless the enrollment names another.
    fn from(id: &RegistrationId) -> Self {
        Self(id.0.clone())
    }
}

/// The ID scope of a DPS instance: `0ne` and eight hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdScope(String);

textual!(IdScope);

impl IdScope {
    const RULES: Rules = Rules {
        what: "ID scope",
        most: 11,
        allowed: "0ne and eight hexadecimal digits",
        allows: |c| c.is_ascii_alphanumeric(),
    };
}

impl FromStr for IdScope {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let digits = text.strip_prefix("0ne").unwrap_or_default();
        if digits.len() != 8 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Self::RULES.form(text, "is not 0ne and eight hexadecimal digits"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A name that `pki.toml` gives: at most 64 characters of `a-z 0-9 - _ .`, starting with a letter or
/// digit and not ending in `.`, so that it is a file name everywhere.
const fn declared_rules(what: &'static str) -> Rules {
    Rules {
        what,
        most: 64,
        allowed: "lower-case letters, digits and - _ .",
        allows: |c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.'),
    }
}

fn check_declared(rules: &Rules, text: &str) -> Result<(), IdError> {
    rules.check(text)?;
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) || text.ends_with('.') {
        return Err(rules.form(text, "must start with a letter or digit and not end in ."));
    }
    Ok(())
}

/// An authority's name in `pki.toml` and in the home's folders: at most 64 characters of
/// `a-z 0-9 - _ .`, starting with a letter or digit, so that it is a file name everywhere.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuthorityName(String);

textual!(AuthorityName);

impl AuthorityName {
    const RULES: Rules = declared_rules("authority name");
}

impl FromStr for AuthorityName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        check_declared(&Self::RULES, text)?;
        Ok(Self(text.to_owned()))
    }
}

/// The name of a leaf profile in `pki.toml`; the rules of [`AuthorityName`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProfileName(String);

textual!(ProfileName);

impl ProfileName {
    const RULES: Rules = declared_rules("profile name");
}

impl FromStr for ProfileName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        check_declared(&Self::RULES, text)?;
        Ok(Self(text.to_owned()))
    }
}

/// What `pki.toml` calls a DPS instance; the rules of [`AuthorityName`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DpsName(String);

textual!(DpsName);

impl DpsName {
    const RULES: Rules = declared_rules("DPS name");
}

impl FromStr for DpsName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        check_declared(&Self::RULES, text)?;
        Ok(Self(text.to_owned()))
    }
}

/// The name under which DPS holds a CA certificate: case-insensitive, at most 256 characters of
/// `A-Z a-z 0-9 - . _` (ARM `certificates/{name}`).
#[derive(Clone)]
pub struct CertificateName(String);

textual!(CertificateName);
case_insensitive!(CertificateName);

impl CertificateName {
    const RULES: Rules = Rules {
        what: "certificate name",
        most: 256,
        allowed: "letters, digits and - . _",
        allows: |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'),
    };
}

impl FromStr for CertificateName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::RULES.check(text)?;
        Ok(Self(text.to_owned()))
    }
}

/// The host name of a linked IoT Hub, compared without case.
#[derive(Clone)]
pub struct HubHostName(String);

textual!(HubHostName);
case_insensitive!(HubHostName);

impl HubHostName {
    const RULES: Rules = Rules {
        what: "hub host name",
        most: 253,
        allowed: "letters, digits, - and .",
        allows: |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'),
    };
}

impl FromStr for HubHostName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::RULES.check(text)?;
        if text
            .split('.')
            .any(|label| label.is_empty() || label.len() > 63)
        {
            return Err(Self::RULES.form(text, "has an empty or overlong label"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The code whose possession proves a CA: the CN of the verification certificate. Opaque, as long as
/// it fits a common name; DPS makes 48 hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct VerificationCode(String);

textual!(VerificationCode);

impl VerificationCode {
    const RULES: Rules = Rules {
        what: "verification code",
        most: LONGEST_COMMON_NAME,
        allowed: "letters, digits and - _",
        allows: |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'),
    };
}

impl FromStr for VerificationCode {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::RULES.check(text)?;
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn refused<T: FromStr<Err = IdError> + fmt::Debug>(text: &str) -> String {
        text.parse::<T>().expect_err("must be refused").to_string()
    }

    /// DPS concepts, registration ID: the alphabet, the end, the length.
    #[test]
    fn registration_id_follows_the_rules_of_dps() {
        for good in ["a", "A-1", "dev.1_2:3", "x-", &"a".repeat(128)] {
            assert_eq!(good.parse::<RegistrationId>().expect(good).as_str(), good);
        }
        assert_eq!(refused::<RegistrationId>(""), "registration ID is empty");
        assert!(refused::<RegistrationId>("a b").contains("character ' ' at position 2"));
        assert!(refused::<RegistrationId>("a.").contains("must end in"));
        assert!(
            refused::<RegistrationId>(&"a".repeat(129)).contains("129 characters, at most 128")
        );
        assert!("a".repeat(64).parse::<LeafName>().is_ok());
        assert_eq!(
            refused::<LeafName>(&"a".repeat(65)),
            format!(
                "registration ID {} has 65 characters; in a certificate it is the CN, which holds at most 64",
                "a".repeat(65)
            )
        );
        assert!(refused::<RegistrationId>("gerät").contains('ä'));
    }

    #[test]
    fn spellings_of_one_registration_id_are_one_key() {
        let spellings =
            ["Dev1", "dev1", "DEV1"].map(|text| text.parse::<RegistrationId>().expect(text));
        assert_eq!(spellings.iter().collect::<HashSet<_>>().len(), 1);
        assert_eq!(spellings[0].cmp(&spellings[2]), Ordering::Equal);
        assert_eq!(spellings[0].folded(), "dev1");
    }

    #[test]
    fn device_ids_keep_their_case() {
        assert_ne!(
            "Dev1".parse::<DeviceId>().expect("id"),
            "dev1".parse().expect("id")
        );
    }

    #[test]
    fn id_scope_has_its_prefix_and_eight_digits() {
        assert!("0ne000956C5".parse::<IdScope>().is_ok());
        // Whatever is wrong with it is told at once.
        for bad in [
            "",
            "0ne000956C",
            "1ne000956C5",
            "0ne000956G5",
            "1ne000956C55",
        ] {
            let told = refused::<IdScope>(bad);
            assert!(
                told.ends_with("is not 0ne and eight hexadecimal digits"),
                "{told}"
            );
        }
    }

    #[test]
    fn authority_names_are_file_names() {
        assert!("line-a.2".parse::<AuthorityName>().is_ok());
        for bad in ["", ".hidden", "Root", "a/b", "trailing.", "-x"] {
            refused::<AuthorityName>(bad);
        }
    }

    #[test]
    fn a_code_with_blanks_is_refused() {
        assert!(refused::<VerificationCode>("7A69 A470").contains("' '"));
    }
}
