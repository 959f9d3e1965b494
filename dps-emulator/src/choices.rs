//! Every choice that the emulator makes where nobody has seen what the real service does.
//!
//! The wire as documented is in the planes; a question whose answer is *not confirmed* is decided
//! here and nowhere else, so that one edit follows when the answer becomes known. Where several
//! answers are legal, the one that careless clients get wrong is preferred.
//!
//! Choices that are the shape of code rather than a value:
//! - a PUT with `If-Match` on an absent enrollment is 412 ([`IF_MATCH_ON_ABSENT_IS_STALE`]);
//! - bulk items run in order and one by one; what failed is reported, what succeeded stays;
//! - a DELETE in the data plane needs no `If-Match`, in the management plane it does (else 400);
//! - a PUT of an existing CA certificate without `If-Match` is 412;
//! - of several certificates in one upload the first counts; one certificate may have two names;
//! - a verification code lives until it is used, replaced, or the certificate changes;
//! - deleting a CA certificate that a group refers to succeeds, and the reference dangles;
//! - a CA reference to an unknown name is refused at PUT (400), an unverified one is not;
//! - the secondary thumbprint of a hub identity is a copy of the primary;
//! - a PUT of symmetric-key attestation without keys makes new ones, on update too;
//! - derived keys of mixed-case registration IDs are accepted from either spelling;
//! - IDs keep the casing in which they were first written;
//! - a device that the hub's operator disabled stays disabled when it registers again, on another
//!   hub too;
//! - over MQTT, whatever is wrong with an identity is CONNACK 5, and a topic or filter that there is
//!   not ends the connection;
//! - a device of type `certificateAuthority` is judged by the CAs that are verified in DPS, since the
//!   hubs' own lists of CAs are not modelled; thumbprints are compared and nothing else;
//! - a slot with `info` alone keeps its certificate only if that very slot held it.

use pki_core::path::Purpose;

use crate::policy::Right;

/// The choices that a user of the emulator may make differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Choices {
    /// Whether GET and query show the certificates of enrollments beside their `info`. Default: no.
    pub show_certificates: bool,
    /// Whether the leaf of an individual enrollment must be within its dates. Default: no, the
    /// certificate is compared and nothing else.
    pub check_individual_dates: bool,
}

/// Items on a page when the client names no number.
pub(crate) const PAGE_DEFAULT: usize = 100;

/// The most items on a page, whatever the client asks for.
pub(crate) const PAGE_MOST: usize = 1000;

/// Whether `If-Match` on an absent enrollment is answered 412 (else 404).
pub(crate) const IF_MATCH_ON_ABSENT_IS_STALE: bool = true;

/// What a leaf below a group must be good for. The documentation asks for clientAuth; a leaf that
/// forbids it is refused here, so that it is found before it meets the real service.
pub(crate) const LEAF_PURPOSE: Purpose = Purpose::Client;

/// The right that reading the keys of an enrollment takes.
pub(crate) const KEYS_RIGHT: Right = Right::EnrollmentWrite;

/// The error code of a registration that found no linked hub.
pub(crate) const NO_HUB_CODE: u32 = 400_208;

/// The error code of a registration whose entry wants a webhook, which the emulator does not call.
pub(crate) const CUSTOM_ALLOCATION_CODE: u32 = 400_207;
