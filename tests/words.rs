//! Sentences for people are plain English: words and turns that readers stumbled over do not come back.
//!
//! What counts is every string of the sources that has a blank in it, outside of documentation and of what is
//! built for tests only; of commands their documentation too, which is the help.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};

use crate::floors::{files_below, is_for_tests_only, length_of_item};

/// What is not said, and what is said instead.
const NOT_SAID: &[(&str, &str)] = &[
    (" octets", "bytes"),
    ("is over since", "expired on"),
    ("rule is broken", "is not met"),
    ("rules are broken", "are not met"),
    ("that they go to", "to write them to"),
    (" 1 errors", "1 error"),
];

/// Commands that do nothing, or something else, where several instances are declared and none is named: they are
/// made by `wording::command_in`.
const NAMES_NO_INSTANCE: [&str; 4] = [
    "dps-pki dps ",
    "dps-pki hub ",
    "dps-pki explain {",
    "dps-pki plan --",
];

#[test]
fn commands_about_an_instance_are_printed_with_its_name() {
    let mut found = Vec::new();
    for (file, sentence) in sentences(false) {
        let is_help = sentence.contains("Examples:");
        if !is_help
            && NAMES_NO_INSTANCE
                .iter()
                .any(|words| sentence.contains(words))
        {
            found.push(format!("{file}: {sentence}"));
        }
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn messages_and_help_are_plain_english() {
    let mut found = Vec::new();
    for (file, sentence) in sentences(true) {
        let bad = NOT_SAID.iter().filter(|(not, _)| sentence.contains(not));
        found.extend(bad.map(|(_, instead)| format!("{file}: {sentence} (say: {instead})")));
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// The sentences of all sources, each with its file; `with_help` also those of the help.
fn sentences(with_help: bool) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = Vec::new();
    let crates = [
        "pki-core",
        "dps-client",
        "dps-emulator",
        "dps-operations",
        "pki-cli",
    ];
    for name in crates {
        for (_, file) in files_below(&root.join(name).join("src")) {
            let text = fs::read_to_string(&file).expect("a source file");
            let place = file.display().to_string();
            let is_help = with_help && place.contains("/pki-cli/src/commands");
            let mut sentences = Vec::new();
            collect(text.parse().expect("Rust"), is_help, &mut sentences);
            found.extend(sentences.into_iter().map(|one| (place.clone(), one)));
        }
    }
    found
}

fn collect(tokens: TokenStream, with_documentation: bool, sentences: &mut Vec<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut place = 0;
    while let Some(token) = tokens.get(place) {
        if is_for_tests_only(&tokens[place..]) {
            place += length_of_item(&tokens[place..]);
            continue;
        }
        match token {
            TokenTree::Group(group) if with_documentation || !is_documentation(group) => {
                collect(group.stream(), with_documentation, sentences);
            }
            TokenTree::Literal(literal) => {
                let text = literal.to_string();
                if text.contains('"') && text.contains(' ') {
                    sentences.push(text);
                }
            }
            _ => {}
        }
        place += 1;
    }
}

/// Whether these are the brackets of `#[doc = "…"]`, as a `///` is read.
fn is_documentation(group: &proc_macro2::Group) -> bool {
    let first = group.stream().into_iter().next();
    matches!(first, Some(TokenTree::Ident(word)) if word == "doc")
}

#[test]
fn sentences_are_found_and_documentation_is_told_apart() {
    let text = r#"
        /// Help with words.
        fn f() { say!("a sentence", "word"); }
        #[cfg(test)]
        fn g() { say!("not this one"); }
    "#;
    let sentences = |with| {
        let mut found = Vec::new();
        collect(text.parse().expect("Rust"), with, &mut found);
        found
    };
    assert_eq!(sentences(false), ["\"a sentence\""]);
    assert_eq!(sentences(true).len(), 2);
}
