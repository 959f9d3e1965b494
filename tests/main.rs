//! The built program from end to end, in one binary: against the emulator, killed, twice at once, and judged by
//! OpenSSL, Microsoft's SDKs and others. What they share is the library of this crate.

mod at_once;
mod bad_input;
mod bulk;
mod bulk_input;
mod convert;
mod crash;
mod crossed;
mod curl;
mod emulator_client;
mod emulator_options;
mod floors;
mod fuzz_corpus;
mod guides;
mod hostile_neighbours;
mod hubs;
#[path = "support/in_process.rs"]
mod in_process;
mod interop_judges;
mod interop_openssl;
mod journal;
mod lifecycle;
mod mutants;
mod other_tools;
mod pkcs11;
mod roll;
mod sdk;
mod secrets;
mod stories;
mod subordinate;
mod takeover;
mod walks;
mod words;
mod write_protected;

use dps_pki_tests::skip;
