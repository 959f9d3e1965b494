//! Errors as text and as JSON.

use serde_json::{Value, json};

use crate::error::CommandError;

/// How many of the lines that an error is about are told to people; scripts get all.
const MOST_LINES: usize = 100;

/// `error: WHAT`, then `  cause: …` and `  hint: …` lines; `paint` colours the first word.
pub fn text(error: &CommandError, paint: impl Fn(&str) -> String) -> String {
    let mut lines = vec![format!("{} {}", paint("error:"), error.message)];
    lines.extend(
        error
            .causes()
            .iter()
            .map(|cause| format!("  cause: {cause}")),
    );
    lines.extend(
        error
            .lines
            .iter()
            .take(MOST_LINES)
            .map(|line| format!("  {}", line.text)),
    );
    if error.lines.len() > MOST_LINES {
        lines.push(format!("  and {} more", error.lines.len() - MOST_LINES));
    }
    lines.extend(error.hints.iter().map(|hint| format!("  hint: {hint}")));
    lines.join("\n")
}

/// `{"error":{"kind":…,"message":…,"causes":…,"hint":…,"exitCode":…}}`, without what there is none of.
pub fn json(error: &CommandError) -> Value {
    let mut object = json!({ "kind": error.kind.word(), "message": error.message });
    let causes = error.causes();
    if !causes.is_empty() {
        object["causes"] = Value::from(causes);
    }
    if !error.hints.is_empty() {
        object["hint"] = Value::from(error.hints.join("; "));
    }
    if !error.lines.is_empty() {
        object["lines"] = error.lines.iter().map(|line| line.json.clone()).collect();
    }
    object["exitCode"] = Value::from(error.kind.exit_code());
    json!({ "error": object })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

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
            json(&error()).to_string(),
            r#"{"error":{"kind":"service","message":"DPS refused it","causes":["503"],"hint":"try again","exitCode":5}}"#
        );
        assert_eq!(
            json(&CommandError::failed("no")).to_string(),
            r#"{"error":{"kind":"failed","message":"no","exitCode":1}}"#
        );
    }
}
