//! Errors as text and as JSON.

use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};

use super::outside::line as visible;
use crate::bad_lines::MOST_TOLD;
use crate::error::{CommandError, Line};

/// `error: WHAT`, then `  cause: …` and `  hint: …` lines; `paint` colours the first word.
pub fn text(error: &CommandError, paint: impl Fn(&str) -> String) -> String {
    let mut lines = vec![format!("{} {}", paint("error:"), visible(&error.message))];
    let causes = error.causes();
    let causes = causes
        .iter()
        .map(|cause| format!("  cause: {}", visible(cause)));
    lines.extend(causes);
    let mut about = error.lines.clone();
    let mut count = u64::try_from(about.len()).unwrap_or(u64::MAX);
    if let Some(bad) = &error.bad_lines {
        about.extend(bad.first().iter().map(Line::of));
        count += bad.count();
    }
    let told = about.iter().take(MOST_TOLD);
    lines.extend(told.map(|line| format!("  {}", visible(&line.text))));
    let most = u64::try_from(MOST_TOLD).unwrap_or(u64::MAX);
    if count > most {
        let more = count - most;
        lines.push(format!(
            "  and {more} more; --output json tells all of them"
        ));
    }
    let hints = error
        .hints
        .iter()
        .map(|hint| format!("  hint: {}", visible(hint)));
    lines.extend(hints);
    lines.join("\n")
}

/// `{"error":{"kind":…,"message":…,"causes":…,"hint":…,"exitCode":…}}`, without what there is none of.
pub struct Document<'a>(pub &'a CommandError);

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut document = serializer.serialize_map(Some(1))?;
        document.serialize_entry("error", &Facts(self.0))?;
        document.end()
    }
}

struct Facts<'a>(&'a CommandError);

impl Serialize for Facts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let error = self.0;
        let mut facts = serializer.serialize_map(None)?;
        facts.serialize_entry("kind", error.kind.word())?;
        facts.serialize_entry("message", &error.message)?;
        let causes = error.causes();
        if !causes.is_empty() {
            facts.serialize_entry("causes", &causes)?;
        }
        if !error.hints.is_empty() {
            facts.serialize_entry("hint", &error.hints.join("; "))?;
        }
        if !error.lines.is_empty() || error.bad_lines.is_some() {
            facts.serialize_entry("lines", &Lines(error))?;
        }
        facts.serialize_entry("exitCode", &error.kind.exit_code())?;
        facts.end()
    }
}

/// One after the other, so that memory does not grow with their number.
struct Lines<'a>(&'a CommandError);

impl Serialize for Lines<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut lines = serializer.serialize_seq(None)?;
        for line in &self.0.lines {
            lines.serialize_element(&line.json)?;
        }
        for bad in self.0.bad_lines.iter().flat_map(|bad| bad.all()) {
            lines.serialize_element(&bad)?;
        }
        lines.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn json(error: &CommandError) -> String {
        serde_json::to_string(&Document(error)).expect("JSON")
    }

    fn error() -> CommandError {
        CommandError::new(ErrorKind::Service, "DPS refused it")
            .because(std::io::Error::other("503"))
            .hint("try again")
    }

    #[test]
    fn text_has_cause_and_hint_where_there_are_any() {
        assert_eq!(
            text(&error(), str::to_owned),
            "error: DPS refused it\n  cause: 503\n  hint: try again"
        );
        assert_eq!(
            text(&CommandError::failed("no"), str::to_owned),
            "error: no"
        );
    }

    #[test]
    fn json_is_one_object() {
        assert_eq!(
            json(&error()),
            r#"{"error":{"kind":"service","message":"DPS refused it","causes":["503"],"hint":"try again","exitCode":5}}"#
        );
        assert_eq!(
            json(&CommandError::failed("no")),
            r#"{"error":{"kind":"failed","message":"no","exitCode":1}}"#
        );
    }
}
