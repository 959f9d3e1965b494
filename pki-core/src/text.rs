//! serde for values that have a textual form: they are written by `Display` and read by `FromStr`, so
//! that a document goes through the same parser as an argument. Internal to the crate.

/// Implements serde for a type through its `Display` and `FromStr`.
macro_rules! serde_as_text {
    ($name:ty) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// `Display` and `FromStr` between an enum's words on the wire and its variants, unknown words kept.
macro_rules! wire_words {
    ($name:ident { $($variant:ident = $word:literal,)* }) => {
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(match self {
                    $(Self::$variant => $word,)*
                    Self::Other(word) => word,
                })
            }
        }

        impl std::str::FromStr for $name {
            type Err = std::convert::Infallible;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                Ok(match word {
                    $($word => Self::$variant,)*
                    other => Self::Other(other.to_owned()),
                })
            }
        }

        $crate::text::serde_as_text!($name);
    };
}

pub(crate) use {serde_as_text, wire_words};
