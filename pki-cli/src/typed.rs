//! Commands of rolls as a person types them, for hints: with everything without which they would do something else.
//!
//! A command that concerns one DPS instance is made by [`pki_core::wording::command_in`].

use pki_core::ids::{AuthorityName, Generation};
use pki_core::lifecycle::HubAction;

/// The command that says a breach roll again as it was asked for.
pub(crate) fn breach_roll(
    name: &AuthorityName,
    generation: Option<Generation>,
    hub: HubAction,
    with_intermediates: bool,
) -> String {
    let generation = generation.map(|number| format!(" --generation {number}"));
    let below = if with_intermediates {
        " --with-intermediates"
    } else {
        ""
    };
    let hub = match hub {
        HubAction::Disable => "",
        HubAction::Delete => " --hub delete",
        HubAction::Keep => " --hub keep",
    };
    let generation = generation.unwrap_or_default();
    format!("dps-pki roll start {name} --compromised{generation}{below}{hub}")
}
