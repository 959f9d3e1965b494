//! The one sentence for each mistake, and which of several is told.

use super::{AUTHORITIES, parsed, refused, refused_with};

#[test]
fn unknown_keys_name_the_nearest_known_one() {
    for (from, to, sentence) in [
        (
            "validity = \"1y\"",
            "vaildity = \"1y\"",
            r#"line 6: [authority.line] vaildity: there is no such key; did you mean "validity"?"#,
        ),
        (
            "validity = \"1y\"",
            "zzz = 1",
            "line 6: [authority.line] zzz: there is no such key; known are issuer, subject, key, key-store, validity, path-length, digital-signature",
        ),
        (
            "[authority.line]",
            "[autority.line]",
            r#"line 2: autority: there is no such key; did you mean "authority"?"#,
        ),
    ] {
        assert_eq!(refused_with(from, to), sentence);
    }
}

#[test]
fn bad_values_name_their_line_table_and_key() {
    for (from, to, sentence) in [
        (
            "key = \"ecdsa-p384\"",
            "key = \"rsa-1024\"",
            "line 16: [authority.root] key: \"rsa-1024\" is not a key algorithm; known are ecdsa-p256, ecdsa-p384, ed25519, rsa-2048, rsa-3072 and rsa-4096",
        ),
        (
            "validity = \"20y\"",
            "validity = 20",
            "line 17: [authority.root] validity: must be a string, not a whole number",
        ),
        (
            "validity = \"20y\"",
            "validity = \"20 years\"",
            "line 17: [authority.root] validity: \"20 years\" is not a duration; write it as 90d, 12h, 30min or 5y",
        ),
        (
            "validity = \"1y\"",
            "validity = \"0d\"",
            "line 6: [authority.line] validity: a certificate that is valid for no time is of no use",
        ),
        (
            "subject = \"CN=Line\"",
            "",
            "line 2: [authority.line]: the key subject is missing",
        ),
        (
            "[authority.line]",
            "[authority.Line]",
            "line 2: [authority.Line]: authority name \"Line\" has the character 'L' at position 1; allowed are lower-case letters, digits and - _ .",
        ),
        (
            "validity = \"1y\"",
            "validity = \"1y\"\npath-length = 300",
            "line 7: [authority.line] path-length: 300 is not a number from 0 to 255",
        ),
    ] {
        assert_eq!(refused_with(from, to), sentence);
    }
}

#[test]
fn what_is_no_toml_names_its_line() {
    for (from, to, part) in [
        ("key = \"ecdsa-p384\"", "key = ", "line 16: not TOML: "),
        (
            "key = \"ecdsa-p384\"",
            "key = \"a\"\nkey = \"b\"",
            "line 17: not TOML: duplicate key",
        ),
        (
            "[authority.root]",
            "[authority.line]",
            "line 14: not TOML: duplicate key",
        ),
    ] {
        let sentence = refused_with(from, to);
        assert!(
            sentence.starts_with(part) && !sentence.contains('\n'),
            "{sentence}"
        );
    }
}

#[test]
fn errors_tell_their_place_apart() {
    let error = refused(&AUTHORITIES.replace("\"20y\"", "20"));
    assert_eq!(
        (error.line(), error.table(), error.key()),
        (17, "authority.root", Some("validity"))
    );
}

#[test]
fn windows_files_are_read_like_others() {
    let text = format!("\u{feff}{}", AUTHORITIES.replace('\n', "\r\n"));
    parsed(&text);
    assert_eq!(refused(&text.replace("\"20y\"", "20")).line(), 17);
}

/// People mend a file from the top: the names of tables and keys play no part.
#[test]
fn the_first_mistake_in_the_file_is_told() {
    for text in [
        "[issuance]\nzeal = 1\nbackdate = 5\n",
        "[authority.b]\nsubject = 1\n[authority.a]\nsubject = 2\n",
        "[profile.device]\nvalidity = 1\n[authority.a]\nsubject = 2\n",
        "[dps.dev]\nservice = 1\n[authority.a]\nsubject = 2\n",
    ] {
        assert_eq!(refused(text).line(), 2, "{text}");
    }
}
