//! Every example in a help text is run as it stands.

mod support;

use clap::Command;
use support::World;

#[test]
fn every_example_in_help_works() {
    let examples = examples_of(&pki_cli::command());
    assert!(examples.len() >= 10, "{examples:?}");
    for example in examples {
        let world = World::with_pki();
        world.write(
            "existing.toml",
            include_str!("../../templates/tutorial.toml"),
        );
        let run = world.run(&example);
        assert_eq!(run.code, 0, "{example}\n{}", run.stderr);
    }
}

#[test]
fn every_command_has_an_example() {
    fn check(command: &Command) {
        for inner in command
            .get_subcommands()
            .filter(|inner| inner.get_name() != "help")
        {
            let is_group = inner.get_subcommands().next().is_some();
            assert!(
                is_group || !examples_of(inner).is_empty(),
                "{}",
                inner.get_name()
            );
            check(inner);
        }
    }
    check(&pki_cli::command());
}

/// The lines of all help texts that are a command line.
fn examples_of(command: &Command) -> Vec<String> {
    let text = command
        .get_after_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let lines = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("dps-pki "));
    let mut examples: Vec<String> = lines.map(ToOwned::to_owned).collect();
    examples.extend(command.get_subcommands().flat_map(examples_of));
    examples
}
