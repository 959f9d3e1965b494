//! The whole of what the toolkit knows about device certificates and DPS.
//!
//! No network, no terminal, and no clock, files, environment or randomness of its own: what judges
//! takes the time as a value, what acts takes a port. `clippy.toml` beside this crate fences it.
//!
//! | area | modules |
//! | --- | --- |
//! | words | [`ids`], [`time`], [`name`], [`secret`] |
//! | what is wished | [`declaration`], [`profile`] |
//! | certificates | [`certificate`], [`csr`], [`crl`], [`key`], [`issue`], [`lint`], [`authority`], [`path`] |
//! | forms | [`pem`], [`encoding`] |
//! | what has happened | [`inventory`], [`delivery`], [`handout`], [`bulk`] |
//! | DPS's documents | [`enrollment`], [`management`], [`hub`] |
//! | what DPS decides | [`admission`] |
//! | what to do about it | [`lifecycle`], and [`journal`] how far it is done |
//! | surroundings | [`ports`], and `testing` for tests |
//!
//! | feature | adds |
//! | --- | --- |
//! | `age` | whole outputs sealed to age recipients |
//! | `pkcs11` | keys in tokens and hardware modules |
//! | `sqlite` | the inventory in one SQLite file |
//! | `system` | the machine's clock and randomness as ports |
//! | `testing` | fixed clock, seeded entropy, in-memory inventory, contract suites |
//!
//! A certificate goes one way, and the types hold the order: a request is *composed*, *linted*,
//! *issued* and *recorded*. Nothing unlinted is signed, nothing unrecorded is written out.
//! [`issue`] has an example of the first three, [`delivery`] does the last.

pub mod admission;
pub mod alternative_name;
pub mod authority;
pub mod bulk;
pub mod certificate;
pub mod crl;
pub mod csr;
pub mod declaration;
pub mod delivery;
mod document;
pub mod encoding;
pub mod enrollment;
pub mod handout;
pub mod hub;
pub mod ids;
pub mod inventory;
pub mod issue;
pub mod journal;
pub mod key;
pub mod lifecycle;
pub mod lint;
pub mod management;
pub mod name;
pub mod path;
pub mod pem;
pub mod ports;
pub mod profile;
pub mod secret;
mod signed;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(feature = "testing")]
pub mod testing;
mod text;
pub mod time;
pub mod wording;
