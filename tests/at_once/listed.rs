//! No changing command is left out: the list is the program's own.

use std::collections::BTreeSet;

use dps_pki_tests::Home;

/// Commands that change neither a home nor DPS. Outputs go by a rule of their own, which `hostile_neighbours`
/// and `outputs` are about.
const HARMLESS: [&str; 41] = [
    "audit checkpoint",
    "audit head",
    "audit log",
    "audit prove",
    "audit verify",
    "authority export",
    "authority list",
    "authority show",
    "batch list",
    "batch open",
    "batch show",
    "batch verify",
    "check",
    "completions",
    "convert",
    "dps ca list",
    "dps device list",
    "dps device show",
    "dps group list",
    "dps group show",
    "dps registration list",
    "dps registration show",
    "emulator",
    "explain",
    "hub device show",
    "impact authority",
    "impact device",
    "inspect",
    "inventory export",
    "inventory list",
    "inventory show",
    "inventory stats",
    "journal list",
    "journal show",
    "lint",
    "man",
    "needs renewal",
    "plan",
    "quickstart",
    "roll status",
    "verify",
];

/// Every command line that is started at once stands in one of these.
const ROUNDS: &str = concat!(
    include_str!("authorities.rs"),
    include_str!("changes.rs"),
    include_str!("leaves.rs"),
    include_str!("records.rs"),
    include_str!("requests.rs"),
);

/// The commands that have no others below them, by the man pages.
fn commands() -> BTreeSet<String> {
    let home = Home::empty();
    home.dps_pki("man pages").ok();
    let pages = home.files().into_iter().filter_map(|file| {
        let page = file.strip_prefix("pages/dps-pki-")?.strip_suffix(".1")?;
        Some(page.replace('-', " "))
    });
    let pages: BTreeSet<String> = pages.collect();
    let groups: BTreeSet<&str> = pages
        .iter()
        .filter_map(|page| Some(page.rsplit_once(' ')?.0))
        .collect();
    pages
        .iter()
        .filter(|page| !groups.contains(page.as_str()))
        .cloned()
        .collect()
}

#[test]
fn every_command_that_changes_something_is_started_at_once() {
    let commands = commands();
    assert!(commands.len() > HARMLESS.len(), "{commands:?}");
    let gone: Vec<&str> = HARMLESS
        .into_iter()
        .filter(|known| !commands.contains(*known))
        .collect();
    assert_eq!(gone, [""; 0], "these are no commands any more");
    let missing: Vec<&String> = commands
        .iter()
        .filter(|command| !HARMLESS.contains(&command.as_str()))
        .filter(|command| !ROUNDS.contains(&format!("\"{command} ")))
        .collect();
    assert!(
        missing.is_empty(),
        "no round starts these at once: {missing:?}"
    );
}
