//! A provisioning status that nobody here knows, a word of tomorrow: it is read, shown and kept, and nobody
//! guesses what it means.

use serde_json::{Value, json};

use crate::walks::fleet::{Fleet, Shape};
use crate::walks::named::fleet;
use crate::walks::site::Registered;

const WORD: &str = "paused";

/// Two lines below a group on the root; the group of `line-a` is paused.
fn with_a_paused_group() -> Fleet {
    let fleet = fleet(Shape {
        takes_unknown_statuses: true,
        ..Shape::PLAIN
    });
    let mut document = fleet.site.json("dps group show line-a");
    document["provisioningStatus"] = json!(WORD);
    fleet.site.write("group.json", &document.to_string());
    fleet
        .site
        .done("dps group put line-a --file group.json --yes");
    fleet
}

fn group(fleet: &Fleet) -> Value {
    fleet.site.json("dps group show line-a")
}

#[test]
fn a_group_of_a_status_that_nobody_knows_is_read_shown_and_not_guessed() {
    let fleet = with_a_paused_group();
    assert_eq!(group(&fleet)["provisioningStatus"], WORD);
    for line in ["dps group list", "dps group show line-a"] {
        let shown = fleet.site.done(line);
        shown.stdout_has(WORD);
    }
    let explained = fleet.site.run("explain device-0");
    explained.stdout_has("nobody here knows whether that lets devices in");
    // Whoever is let in for all that anybody knows loses it; of whom nothing changes nobody says more.
    let told = fleet.site.json("impact authority line-a");
    assert_eq!(told["impact"]["loses"], 2, "{told}");
    let told = fleet.site.json("impact authority line-b");
    assert_eq!(told["impact"]["notKnown"], 2, "{told}");
    assert!(fleet.shows("device-1", 0).is_in());
}

/// What changes something else in the record leaves the word.
#[test]
fn a_roll_keeps_a_status_that_nobody_knows() {
    let fleet = with_a_paused_group();
    let run = fleet.site.run("roll start line-a --yes");
    assert_eq!(group(&fleet)["provisioningStatus"], WORD, "{run:#?}");
    let run = fleet.site.run("roll start line-a --compromised --yes");
    assert_eq!(group(&fleet)["provisioningStatus"], WORD, "{run:#?}");
    assert!(!fleet.shows("device-0", 0).is_in(), "{run:#?}");
}

/// pki.toml says that the group is enabled: that would let somebody in who may be out.
#[test]
fn apply_does_not_enable_a_group_of_a_status_that_nobody_knows() {
    let fleet = with_a_paused_group();
    let refused = fleet.ends_with("apply --yes", 4);
    refused.stderr_has("line-a");
    assert_eq!(group(&fleet)["provisioningStatus"], WORD);
}

/// To shut out, a word that may let in is as good as *enabled*.
#[test]
fn a_quarantine_takes_a_status_that_nobody_knows_for_one_that_may_let_in() {
    let fleet = with_a_paused_group();
    let document = json!({"registrationId": "device-2", "provisioningStatus": WORD,
        "attestation": {"type": "x509", "x509": {"clientCertificates": {"primary":
            {"certificate": fleet.site.read("leaves-1/device-2.cert.pem")}}}}});
    fleet.site.write("device.json", &document.to_string());
    fleet
        .site
        .done("dps device put device-2 --file device.json --yes");
    let shown = fleet.site.json("dps device show device-2");
    assert_eq!(shown["provisioningStatus"], WORD);
    // It was never shut out, as far as anybody knows.
    fleet.ends_with(
        "readmit device-2 --cert leaves-1/device-2.cert.pem --yes",
        4,
    );
    assert_eq!(
        fleet.site.json("dps device show device-2")["provisioningStatus"],
        WORD
    );
    fleet.site.done("quarantine device-2 --yes");
    assert_eq!(fleet.shows("device-2", 0), Registered::Disabled);
    fleet.site.done("quarantine --authority line-a --yes");
    assert_eq!(fleet.shows("device-0", 0), Registered::Disabled);
    assert!(fleet.shows("device-1", 0).is_in());
}
