//! What comes first: a breach roll before other rolls and further generations, a name before an instance. And what
//! is printed to be typed next does it.

use serde_json::json;

use crate::walks::fleet::Fleet;
use crate::walks::named::two_lines;
use crate::walks::site::{Death, Run};

const BREACH: &str = "roll start root --compromised --yes";

impl Fleet {
    fn states(&self, authority: &str) -> Vec<String> {
        let shown = self.site.json(&format!("authority show {authority}"));
        let rows = shown.as_array().expect("rows").iter();
        rows.map(|row| row["status"].as_str().expect("a word").to_owned())
            .collect()
    }

    fn is_in_anywhere(&self, device: usize) -> bool {
        let mut instances = 0..self.site.instances.len();
        instances.any(|instance| self.register(instance, device, 0).registered.is_in())
    }

    /// Types the command that was printed after some words.
    #[track_caller]
    fn pastes(&self, run: &Run, after: &str) -> Run {
        let told = format!("{}\n{}", run.stdout, run.stderr);
        let (_, rest) = told.split_once(after).unwrap_or_else(|| panic!("{run:#?}"));
        let (_, command) = rest.split_once("dps-pki ").expect("a command");
        let command = command.lines().next().expect("a line");
        let command = command.split([';', ',']).next().expect("a command");
        self.site.done(&format!("{command} --yes"))
    }
}

/// A breach roll of the root that was cut, and a third generation that nobody could refuse: none of the instances
/// could be asked.
fn with_hidden_breach(write: usize) -> Fleet {
    let fleet = two_lines(2);
    let cut = fleet.site.run_until(BREACH, Some(Death::After(write)));
    assert_eq!(cut.code, 70, "{cut:#?}");
    let refused = fleet.ends_with("authority create root --next", 4);
    refused.stderr_has("the breach roll of authority root generation 1 comes first");
    refused.stderr_has("complete it with: dps-pki roll start root --compromised");
    assert_eq!(fleet.states("root"), ["compromised", "current"]);
    let anchors = ["dps-a.pem", "dps-b.pem"].map(|name| (name, fleet.site.read(name)));
    for (name, _) in &anchors {
        fleet.site.write(name, &fleet.site.read("passphrase"));
    }
    let made = fleet.site.done("authority create root --next");
    made.stderr_has("whether the breach roll of root is done there cannot be told");
    for (name, anchor) in &anchors {
        fleet.site.write(name, anchor);
    }
    fleet
}

/// Whatever it was cut at, a generation that is made since hides no breach and is not taken for the one that comes.
#[test]
fn a_generation_that_is_made_since_hides_no_breach() {
    for write in 1..=3 {
        let fleet = with_hidden_breach(write);
        let status = fleet.ends_with("roll status root --detailed-exitcode", 10);
        status.stdout_has("complete it with: dps-pki roll start root --compromised");
        let refused = fleet.ends_with("roll start root --yes", 4);
        refused.stderr_has("the breach roll of authority root generation 1 comes first");
        fleet.pastes(&refused, "complete it with: ");
        assert_eq!(fleet.states("root"), ["compromised", "current", "pending"]);
        assert!(!fleet.is_in_anywhere(0), "cut after write {write}");
        let status = fleet.site.done("roll status root");
        assert!(!status.stdout.contains("breach roll"), "{status:#?}");
        fleet.site.done("roll start root --yes");
    }
}

/// The generation that came by a breach roll is condemned by its number alone.
#[test]
fn a_breach_roll_that_is_done_condemns_nothing_else() {
    let mut fleet = two_lines(2);
    fleet.site.done("roll start line-a --compromised --yes");
    let leaf = fleet.renewed("device-0");
    assert!(fleet.register(0, 0, leaf).registered.is_in());
    let again = fleet.site.done("roll start line-a --compromised --yes");
    again.stdout_has("nothing to do");
    assert_eq!(fleet.states("line-a"), ["compromised", "current"]);
    fleet.site.done("authority create line-a --next");
    let refused = fleet.ends_with("roll start line-a --compromised --yes", 4);
    refused
        .stderr_has("generation 1 of authority line-a is shut out, and generation 2 in its place");
    assert!(fleet.register(0, 0, leaf).registered.is_in());
    fleet.pastes(&refused, "to see that generation 1 stays out: ");
    assert!(fleet.register(0, 0, leaf).registered.is_in());
    fleet.pastes(&refused, "to shut it out as well: ");
    assert!(!fleet.register(0, 0, leaf).registered.is_in());
    assert_eq!(
        fleet.states("line-a"),
        ["compromised", "compromised", "current"]
    );
    fleet
        .site
        .done("roll start line-a --compromised --generation 2 --yes");
    let breach = "roll start line-a --compromised --generation";
    let unknown = fleet.ends_with(&format!("{breach} 4 --yes"), 8);
    unknown.stderr_has("authority line-a has no generation 4");
    fleet.site.done("authority create line-a --next");
    let pending = fleet.ends_with(&format!("{breach} 4 --yes"), 4);
    pending.stderr_has("generation 4 of authority line-a is not the one that issues, which is 3");
    fleet.pastes(&pending, "give it up with: ");
}

/// The second breach takes out in an instance what the first one could not reach there.
#[test]
fn a_second_breach_roll_completes_the_first() {
    let fleet = two_lines(2);
    let anchor = fleet.site.read("dps-b.pem");
    fleet
        .site
        .write("dps-b.pem", &fleet.site.read("passphrase"));
    for authority in ["line-a", "root"] {
        let breach = format!("roll start {authority} --compromised --yes");
        fleet.ends_with(&breach, 7);
        fleet.ends_with(&format!("{breach} --generation 2"), 7);
    }
    fleet.site.write("dps-b.pem", &anchor);
    assert!(fleet.register(1, 0, 0).registered.is_in());
    for authority in ["root", "line-a"] {
        fleet
            .site
            .done(&format!("roll start {authority} --compromised --yes"));
        let status = fleet.site.done(&format!("roll status {authority}"));
        assert!(!status.stdout.contains("breach roll"), "{status:#?}");
        let states = ["compromised", "compromised", "current"];
        assert_eq!(fleet.states(authority), states);
    }
    assert!(!fleet.is_in_anywhere(0));
    assert!(!fleet.is_in_anywhere(1));
}

/// An ordinary roll that was cut in one instance leaves nobody in, in either.
#[test]
fn a_breach_roll_goes_before_a_roll_that_was_cut() {
    for authority in ["root", "line-a"] {
        let start = format!("roll start {authority} --yes");
        let breach = format!("roll start {authority} --compromised --yes");
        let mut given_up = 0;
        for write in 1.. {
            let fleet = two_lines(2);
            let cut = fleet.site.run_until(&start, Some(Death::After(write)));
            if cut.code == 0 {
                assert!(write > 2, "{authority} was never cut");
                break;
            }
            fleet.site.done(&breach);
            assert!(!fleet.is_in_anywhere(0), "{authority}, write {write}");
            assert_eq!(fleet.site.json("journal list --open"), json!([]));
            assert_eq!(fleet.states(authority), ["compromised", "current"]);
            let plans = fleet.site.json("journal list");
            let plans = plans.as_array().expect("a list").iter();
            let reasons = plans.filter_map(|plan| plan["reason"].as_str());
            for reason in reasons {
                assert_eq!(reason, "a breach roll of the authority went first");
                given_up += 1;
            }
            fleet.site.done(&breach);
        }
        assert!(given_up > 0, "no roll of {authority} gave way");
    }
}

/// A plan of something else that was cut is in the way in its instance alone.
#[test]
fn a_plan_in_the_way_in_one_instance_holds_no_other_up() {
    let fleet = two_lines(2);
    let disable = "dps group disable line-a --dps dps-a --yes";
    fleet.site.run_until(disable, Some(Death::After(1)));
    let run = fleet.ends_with("roll start line-a --compromised --yes", 7);
    run.stderr_has("DPS dps-a: plan ");
    assert!(!fleet.register(1, 0, 0).registered.is_in());
    fleet.pastes(&run, "go on with it: ");
    fleet.site.done("roll start line-a --compromised --yes");
    assert!(!fleet.is_in_anywhere(0));
}

#[test]
fn a_name_that_nobody_knows_is_told_before_an_instance_is_asked_for() {
    let fleet = two_lines(2);
    for name in ["dps-a.pem", "dps-b.pem"] {
        fleet.site.write(name, &fleet.site.read("passphrase"));
    }
    for line in [
        "roll start linea --yes",
        "roll start linea --compromised --yes",
        "roll status linea",
        "roll finish linea --yes",
        "roll abort linea --yes",
        "quarantine --authority linea --yes",
        "impact authority linea",
        "authority create linea --next",
        "authority show linea",
        "authority export linea",
        "possession linea CODE",
        "crl linea",
        "inventory list --authority linea",
        "issue device-9 --authority linea --out new",
    ] {
        let run = fleet.ends_with(line, 8);
        run.stderr_has("did you mean");
        run.stderr_has("line-a");
        assert!(!run.stderr.contains("choose one"), "{run:#?}");
    }
    for line in [
        "dps group show linea",
        "dps group put linea --yes",
        "dps group enable linea --yes",
        "dps group disable linea --yes",
        "dps group delete linea --yes",
        "dps registration list --group linea",
        "plan --make-again linea",
    ] {
        let run = fleet.ends_with(line, 8);
        run.stderr_has("did you mean line-a?");
    }
    let run = fleet.ends_with("dps group show line-a", 2);
    run.stderr_has("enrollment group line-a is declared for: dps-a, dps-b");
}

/// Printed commands name the instance, and what they are refused without.
#[test]
fn commands_that_are_printed_work_where_several_instances_are_declared() {
    let fleet = two_lines(2);
    fleet.site.done("quarantine --authority line-a --yes");
    let run = fleet.site.done("roll start line-a --compromised --yes");
    fleet.pastes(&run, "enable it with: ");

    let refused = fleet.ends_with("apply --dps dps-b --yes", 4);
    fleet.pastes(&refused, "or enable it with: ");

    let declared = fleet.site.read("pki.toml");
    let group = "[dps.dps-a.group.other]\nauthority = \"line-b\"\nstatus = \"disabled\"\n";
    fleet
        .site
        .write("pki.toml", &format!("{declared}\n{group}"));
    fleet.site.done("apply --dps dps-a --yes");
    fleet.site.write("pki.toml", &declared);
    let refused = fleet.ends_with("apply --prune --dps dps-a --yes", 4);
    fleet.pastes(&refused, "or delete it by name");
}
