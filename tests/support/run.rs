//! What a program that has ended left: exit code and output.

use std::fmt;
use std::process::Output;

use serde_json::Value;

/// A run that has ended.
#[derive(Debug)]
pub struct Run {
    /// What was typed.
    pub line: String,
    /// The exit code; -1 if a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Run {
    /// What a program left that was started with this line.
    pub fn new(line: &str, output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the output is UTF-8");
        Self {
            line: line.to_owned(),
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// The same run, which must have ended well.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.ends_with(0)
    }

    /// The same run, which must have ended with this exit code.
    #[track_caller]
    pub fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self}");
        self
    }

    /// That standard output holds this text.
    #[track_caller]
    pub fn stdout_has(&self, text: &str) -> &Self {
        assert!(self.stdout.contains(text), "{text:?} is not in: {self}");
        self
    }

    /// That standard error holds this text.
    #[track_caller]
    pub fn stderr_has(&self, text: &str) -> &Self {
        assert!(self.stderr.contains(text), "{text:?} is not in: {self}");
        self
    }

    /// A refusal: this exit code, and one error, which holds this text.
    #[track_caller]
    pub fn refused(&self, code: i32, sentence: &str) {
        assert_eq!(self.code, code, "{self}");
        self.stderr_has(sentence);
        assert_eq!(self.stderr.matches("error: ").count(), 1, "{self}");
    }

    /// The one JSON document on standard output.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self}"))
    }

    /// The one JSON object on standard error.
    #[track_caller]
    pub fn error_json(&self) -> Value {
        let object: Value =
            serde_json::from_str(&self.stderr).unwrap_or_else(|error| panic!("{error} in {self}"));
        object["error"].clone()
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            code,
            stdout,
            stderr,
        } = self;
        write!(
            f,
            "$ {line}\n{stdout}--- stderr\n{stderr}--- exit code {code}"
        )
    }
}
