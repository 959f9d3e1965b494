//! Words that many sentences have in common: numbers with what they count, in the singular for one, else in the
//! plural; and commands to be typed.

use std::fmt::Display;

/// A number and what it counts: `1 leaf`, `2 leaves`, `0 leaves`.
pub fn counted<N: Display + PartialEq + From<u8> + Copy>(
    count: N,
    one: &str,
    many: &str,
) -> String {
    format!("{count} {}", fitting(count, one, many))
}

/// The word that goes with a number of things: `is` with one, else `are`.
pub fn fitting<'a, N: PartialEq + From<u8>>(count: N, one: &'a str, many: &'a str) -> &'a str {
    if count == N::from(1) { one } else { many }
}

/// A command that concerns one DPS instance, as it is typed: `pki.toml` may declare several, so the instance is
/// always named.
pub fn command_in(dps: impl Display, command: impl Display) -> String {
    format!("dps-pki {command} --dps {dps}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular_and_none_is_plural() {
        let told = [0, 1, 2].map(|count: u64| {
            let verb = fitting(count, "is", "are");
            format!("{} {verb} left", counted(count, "leaf", "leaves"))
        });
        assert_eq!(
            told,
            ["0 leaves are left", "1 leaf is left", "2 leaves are left"]
        );
    }
}
