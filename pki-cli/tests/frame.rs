//! What holds for every command: streams, formats, exit codes, home, colour.

use crate::support::World;
use pki_cli::host::Terminal;
use pki_core::inventory::GenerationState;

#[test]
fn a_wrong_command_line_is_told_on_standard_error_with_code_2() {
    let world = World::new();
    let run = world.run("init --no-such-flag");
    assert_eq!((run.code, run.stdout.as_str()), (2, ""));
    assert!(
        run.stderr
            .starts_with("error: unexpected argument '--no-such-flag'"),
        "{}",
        run.stderr
    );
    assert_eq!(world.run("").code, 2);
    assert_eq!(world.run("no-such-command").code, 2);
}

#[test]
fn help_and_version_are_results() {
    let world = World::new();
    for line in ["--help", "help", "init --help", "--version"] {
        let run = world.run(line);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{line}");
        assert!(!run.stdout.is_empty(), "{line}");
    }
}

#[test]
fn with_json_every_error_is_one_object_on_standard_error() {
    let mut world = World::new();
    let usage = serde_json::json!({"error": {
        "kind": "usage",
        "message": "unexpected argument '--bad' found",
        "exitCode": 2,
    }});
    assert_eq!(world.run("init --bad --output json").error_json(), usage);
    assert_eq!(world.run("init --output=json --bad").error_json(), usage);
    world.set("DPS_PKI_OUTPUT", "json");
    assert_eq!(world.run("init --bad").error_json(), usage);
    let run = world.run("inspect none.pem");
    assert_eq!((run.code, run.stdout.as_str()), (8, ""));
    assert_eq!(
        run.error_json(),
        serde_json::json!({"error": {
            "kind": "not_found",
            "message": "none.pem does not exist",
            "exitCode": 8,
        }})
    );
}

#[test]
fn variables_that_cannot_be_understood_are_wrong_usage() {
    for (variable, sentence) in [
        (
            "DPS_PKI_OUTPUT",
            "error: the environment variable DPS_PKI_OUTPUT is neither text nor json",
        ),
        (
            "DPS_PKI_LOG",
            "error: the environment variable DPS_PKI_LOG is not a filter of tracing",
        ),
    ] {
        let mut world = World::new();
        world.set(variable, "a=b=c");
        let run = world.run("inspect x");
        assert_eq!(run.code, 2);
        assert!(run.stderr.starts_with(sentence), "{}", run.stderr);
    }
}

#[test]
fn a_reader_that_has_gone_ends_the_command_quietly() {
    let mut world = World::new();
    world.reader_gone = true;
    for line in ["completions bash", "--help"] {
        let run = world.run(line);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{line}");
    }
}

/// <https://no-color.org>
#[test]
fn colour_is_for_terminals_that_want_it() {
    let mut world = World::new();
    let coloured = |world: &World| world.run("inspect none").stderr.contains('\x1b');
    assert!(!coloured(&world));
    world.terminal = Terminal {
        stderr: true,
        ..Terminal::default()
    };
    assert!(coloured(&world));
    world.set("NO_COLOR", "1");
    assert!(!coloured(&world));
}

#[test]
fn the_home_is_the_nearest_folder_upwards() {
    let mut world = World::with_pki();
    assert_eq!(world.run("init pki").code, 0);
    world.record_root("pki", GenerationState::Current);
    world.write(
        "pki/deep/below/sensor-1.cert.pem",
        world.read("sensor-1-full-chain.cert.pem"),
    );
    let verify = "verify sensor-1.cert.pem";
    assert_eq!(world.run_in("pki/deep/below", verify).code, 0);
    let chain = "verify sensor-1-full-chain.cert.pem";
    assert_eq!(world.run(chain).code, 8);
    assert_eq!(world.run(&format!("{chain} --home pki")).code, 0);
    world.set("DPS_PKI_HOME", "pki");
    assert_eq!(world.run(chain).code, 0);
    assert_eq!(world.run(&format!("{chain} --home elsewhere")).code, 8);
}

#[test]
fn secrets_on_the_command_line_are_refused_and_not_repeated() {
    let world = World::with_pki();
    let run = world.run("inspect factory.key.pem --passphrase-from hunter2");
    assert_eq!(run.code, 2);
    assert!(!run.stderr.contains("hunter2"), "{}", run.stderr);
    run.stderr_has("write file:PATH, env:NAME, fd:N, stdin or prompt");
}

#[test]
fn passphrases_come_from_files_variables_streams_and_people() {
    let opened = |world: &World, flags: &str| {
        let run = world.run(&format!("inspect factory.key.pem {flags}"));
        run.code == 0 && run.stdout.contains("RSA 2048")
    };
    let mut world = World::new();
    world.write_pki_under("secret");
    world.write("passphrase", "secret\r\nsecond line");
    assert!(opened(&world, "--passphrase-file passphrase"));
    assert!(opened(&world, "--passphrase-from file:passphrase"));
    assert!(!opened(&world, ""));
    world.stdin = b"secret\n".to_vec();
    assert!(opened(&world, "--passphrase-from stdin"));
    world.set("OTHER", "secret");
    assert!(opened(&world, "--passphrase-from env:OTHER"));
    world.set("DPS_PKI_PASSPHRASE", "secret");
    assert!(opened(&world, ""));
    world.environment.clear();
    world.set("DPS_PKI_PASSPHRASE_FILE", "passphrase");
    assert!(opened(&world, ""));
    world.environment.clear();
    world.answer = "secret";
    let run = world.run("inspect factory.key.pem --passphrase-from prompt");
    run.assert_refused(
        4,
        &[
            "error: a passphrase is needed, and there is no terminal to ask at",
            "  hint: give it with --passphrase-file, or in DPS_PKI_PASSPHRASE",
        ],
    );
    world.terminal = Terminal {
        stdin: true,
        stdout: true,
        stderr: true,
    };
    assert!(opened(&world, "--passphrase-from prompt"));
    world.answer = "wrong";
    let run = world.run("inspect factory.key.pem --passphrase-from prompt");
    assert_eq!(run.code, 4);
    run.stderr_has("the passphrase does not open the key");
}
