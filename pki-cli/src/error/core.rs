//! Errors of the core as those of the command line: their kind, and what to type next.

use dps_operations::Class;
use pki_core::admission::ViewError;
use pki_core::authority::{AdoptError, PossessionError};
use pki_core::bulk::input::Place;
use pki_core::certificate::pem::CertificateInputError;
use pki_core::crl::CrlError;
use pki_core::ids::{DpsName, IdError};
use pki_core::inventory::{InventoryError, KeyHolder};
use pki_core::issue::IssueError;
use pki_core::key::KeyError;
use pki_core::key::pkcs11::TokenError;
use pki_core::lifecycle::roll::RollError;
use pki_core::lifecycle::{
    BelowError, CheckError, DeclaredError, HubAction, PruneError, ReadmitError,
};
use pki_core::pem::InputError;
use pki_core::ports::EntropyError;
use pki_core::time::TimeError;
use pki_core::wording::command_in;

use super::{CommandError, ErrorKind};
use crate::neighbour;
use crate::typed::breach_roll;

impl From<IdError> for CommandError {
    fn from(error: IdError) -> Self {
        Self::invalid_input(error.to_string())
    }
}

impl From<InputError> for CommandError {
    fn from(error: InputError) -> Self {
        Self::invalid_input(error.to_string())
    }
}

impl From<CertificateInputError> for CommandError {
    fn from(error: CertificateInputError) -> Self {
        Self::invalid_input(error.to_string())
    }
}

impl From<KeyError> for CommandError {
    fn from(error: KeyError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<TokenError> for CommandError {
    fn from(error: TokenError) -> Self {
        let kind = match &error {
            TokenError::Module { .. }
            | TokenError::NoToken { .. }
            | TokenError::NoKey { .. }
            | TokenError::NoPublicKey { .. } => ErrorKind::NotFound,
            TokenError::PinNeeded { .. }
            | TokenError::WrongPin { .. }
            | TokenError::PinLocked { .. }
            | TokenError::PinNotSet { .. }
            | TokenError::KeyExists { .. } => ErrorKind::Refused,
            TokenError::SeveralTokens { .. }
            | TokenError::SeveralKeys { .. }
            | TokenError::Unnamed
            | TokenError::KeyKind { .. }
            | TokenError::PinForEachSignature { .. }
            | TokenError::CannotMake { .. } => ErrorKind::InvalidInput,
            _ => ErrorKind::Failed,
        };
        let refused = Self::new(kind, error.to_string());
        match error {
            TokenError::NoPublicKey { token, wanted } => refused.hint(format!(
                "store the public key with the same identifier; if no certificate was made for this key, \
                 remove it: p11tool --login --delete 'pkcs11:token={token};{wanted};type=private'"
            )),
            TokenError::PinNeeded { .. } => {
                refused.hint("add ?pin-source=file:PATH or ?pin-source=env:NAME to the URI")
            }
            _ => refused,
        }
    }
}

impl From<EntropyError> for CommandError {
    fn from(error: EntropyError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<TimeError> for CommandError {
    fn from(error: TimeError) -> Self {
        Self::invalid_input(error.to_string())
    }
}

/// Every device has a key of its own.
const OWN_KEY: &str =
    "every device makes a key of its own; one image for many must not have one in it";

fn key_hint(holder: &KeyHolder) -> &'static str {
    if holder.revoked.is_some() {
        "let the device make a new key"
    } else {
        "every device makes a key of its own; if it is the same device under another ID: dps-pki revoke \
         OLD-ID --reason cessationOfOperation"
    }
}

impl CommandError {
    /// The key of a request is another's, or was compromised. `place` is where the request stands.
    pub(crate) fn key_taken(holder: &KeyHolder, place: Option<&Place>) -> Self {
        let message = match place {
            Some(place) => format!("{place}: {holder}"),
            None => holder.to_string(),
        };
        Self::refused(message).hint(key_hint(holder))
    }
}

impl From<InventoryError> for CommandError {
    fn from(error: InventoryError) -> Self {
        let kind = Class::from(&error).into();
        let refused = Self::new(kind, error.to_string());
        match error {
            InventoryError::Storage { source, .. } => refused.because(source),
            InventoryError::Locked { path } => match neighbour::writer_of(&path) {
                Some(holder) => {
                    refused.hint(format!("{holder} has it, and has written nothing for long"))
                }
                None => refused,
            },
            InventoryError::LeafExists { .. } => {
                refused.hint("to give a device another leaf: dps-pki renew ID")
            }
            InventoryError::KeyTaken { first, .. } => refused.hint(key_hint(&first)),
            InventoryError::KeyTwice { .. } => refused.hint(OWN_KEY),
            InventoryError::WriteProtected { .. } => {
                refused.hint("it can be read here; to change it, work where it can be written")
            }
            InventoryError::Edited { .. } => refused
                .hint("nothing was done with it; see what else was changed, with: dps-pki audit verify")
                .hint("a backup of the home from before the edit can be gone on with"),
            InventoryError::SchemaTooOld { .. } | InventoryError::Unfinished { .. } => refused
                .hint("copy the whole home to a place that can be written, and read it there"),
            _ => refused,
        }
    }
}

impl From<IssueError> for CommandError {
    fn from(error: IssueError) -> Self {
        Self::new(Class::from(&error).into(), error.to_string())
    }
}

impl From<PossessionError> for CommandError {
    fn from(error: PossessionError) -> Self {
        Self::new(Class::from(&error).into(), error.to_string())
    }
}

impl From<AdoptError> for CommandError {
    fn from(error: AdoptError) -> Self {
        Self::invalid_input(error.to_string())
    }
}

impl From<CrlError> for CommandError {
    fn from(error: CrlError) -> Self {
        match error {
            CrlError::MayNotSign | CrlError::NextUpdate => Self::refused(error.to_string()),
            _ => Self::failed(error.to_string()),
        }
    }
}

impl From<DeclaredError> for CommandError {
    fn from(error: DeclaredError) -> Self {
        let message = error.to_string();
        match error {
            DeclaredError::NoAuthority { .. } => Self::not_found(message),
            DeclaredError::Deprovisioned { group } => Self::refused(message)
                .hint("take the group out of pki.toml")
                .hint(format!(
                    "if its devices are to come back, say --make-again {group}"
                )),
            _ => Self::refused(message),
        }
    }
}

/// Why something in an instance is not pruned, and how it can be deleted all the same.
pub(super) fn not_pruned(dps: &DpsName, error: PruneError) -> CommandError {
    let refused = CommandError::refused(error.to_string());
    match error {
        PruneError::KeepsOut { group } => {
            let delete = format_args!("dps group delete {group} --let-devices-in");
            refused
                .hint("declare it with status = \"disabled\" to keep it")
                .hint(format!(
                    "or delete it by name, whoever is let in then: {}",
                    command_in(dps, delete)
                ))
        }
        PruneError::LetsIn { .. } | PruneError::LetsCompromisedIn { .. } => refused.hint(format!(
            "see what is not declared with: {}; then delete one by one, which tells who is let in",
            command_in(dps, "plan")
        )),
        PruneError::Declared(error) => error.into(),
        PruneError::Admits { name, .. } => refused.hint(format!(
            "declare it as [dps.{dps}.ca.{name}] to keep it, or delete it by name: {}",
            command_in(dps, format_args!("dps ca delete {name}"))
        )),
        _ => refused,
    }
}

impl From<RollError> for CommandError {
    /// What stands in the way, and the way around it.
    fn from(error: RollError) -> Self {
        let refused = Self::refused(error.to_string());
        match error {
            RollError::Stranded { .. } => {
                refused.hint("let the overlap last longer, or accept their number with --accept-stranded N")
            }
            RollError::LeftBehind { .. } => refused
                .hint("give them new leaves with: dps-pki renew ID…; or accept their number with --accept-stranded N"),
            RollError::NotKnown { .. } | RollError::DeviceNotKnown { .. } => refused
                .hint("let the hub be read: its sign-in and address are in pki.toml; or accept their number with --accept-stranded N"),
            RollError::BreachUnfinished {
                authority,
                hub,
                with_intermediates,
                ..
            } => refused
                .hint(format!(
                    "complete it with: {}",
                    breach_roll(&authority, None, hub, with_intermediates)
                ))
                .hint(format!("what it lacks: dps-pki roll status {authority}")),
            RollError::WhichGeneration {
                authority,
                compromised,
                current,
            } => {
                let command =
                    |number| breach_roll(&authority, Some(number), HubAction::Disable, false);
                refused
                    .hint(format!("to shut it out as well: {}", command(current)))
                    .hint(format!(
                        "to see that generation {compromised} stays out: {}",
                        command(compromised)
                    ))
            }
            RollError::NotCondemned {
                authority, named, current
            } => refused.hint(if named > current {
                format!("give it up with: dps-pki roll abort {authority}")
            } else {
                format!("what DPS still holds of it goes with: dps-pki roll finish {authority}")
            }),
            RollError::StrandsBelow { .. } => refused.hint("say --with-intermediates"),
            RollError::SameKey { authority, .. } => refused
                .hint(format!("give it up with: dps-pki roll abort {authority}"))
                .hint(format!("then make one with a new key: dps-pki authority create {authority} --next")),
            RollError::BelowCompromised {
                authority,
                first,
                made,
                ..
            } => {
                let given_up = made.map(|made| {
                    format!("give generation {made} up with: dps-pki roll abort {authority}")
                });
                let rolled = first.map(|first| format!("roll {first} first: dps-pki roll start {first}"));
                let hints = given_up.into_iter().chain(rolled);
                hints.fold(refused, Self::hint)
            }
            RollError::Contradiction(_) => refused.hint("dps-pki audit verify"),
            RollError::NoLeafEntry { id } => {
                refused.hint(format!("dps-pki renew {id}; if its leaf is stolen: dps-pki quarantine {id}, then readmit"))
            }
            _ => refused,
        }
    }
}

impl From<ReadmitError> for CommandError {
    fn from(error: ReadmitError) -> Self {
        let refused = Self::refused(error.to_string());
        match error {
            ReadmitError::SameLeaf { id }
            | ReadmitError::SameKey { id }
            | ReadmitError::Revoked { id }
            | ReadmitError::NotOurs { id }
            | ReadmitError::NotValid { id, .. } => refused.hint(format!(
                "a new one comes from: dps-pki renew {id} --new-key"
            )),
            _ => refused,
        }
    }
}

impl From<CheckError> for CommandError {
    /// A planner's mistake or a fleet that nobody thought of: the plan is not carried out.
    fn from(error: CheckError) -> Self {
        Self::new(Class::from(&error).into(), error.to_string())
    }
}

impl From<BelowError> for CommandError {
    fn from(error: BelowError) -> Self {
        let refused = Self::refused(error.to_string());
        match error {
            BelowError::Id { source, .. } => refused.because(source),
            _ => refused,
        }
    }
}

impl From<ViewError> for CommandError {
    fn from(error: ViewError) -> Self {
        Self::new(ErrorKind::Service, error.to_string())
    }
}
