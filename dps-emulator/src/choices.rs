//! Every choice that the emulator makes where nobody has seen what the real service does.
//!
//! The wire as documented is in the planes; a question whose answer is *not confirmed* is decided
//! here and nowhere else, so that one edit follows when the answer becomes known. Where several
//! answers are legal, the one that careless clients get wrong is preferred.
//!
//! What can be chosen otherwise is a member of [`Choices`]. The rest is the shape of code:
//! - bulk items run in order and one by one; what failed is reported, what succeeded stays;
//! - a bulk update of an item with an ETag replaces whatever is there, as documented; without one it
//!   only creates, as recorded;
//! - a DELETE in the management plane needs `If-Match` (else 400);
//! - a PUT of an existing CA certificate without `If-Match` is 412;
//! - of several certificates in one upload the first counts;
//! - a verification code lives until it is used, replaced, or the certificate changes;
//! - derived keys of mixed-case registration IDs are accepted from either spelling;
//! - IDs keep the casing in which they were first written;
//! - a device that the hub's operator disabled stays disabled when it registers again, on another
//!   hub too;
//! - over MQTT, whatever is wrong with an identity is CONNACK 5, and a topic or filter that there is
//!   not ends the connection;
//! - a device of type `certificateAuthority` is judged by the CAs that are verified in DPS, since the
//!   hubs' own lists of CAs are not modelled; thumbprints are compared and nothing else;
//! - a slot with `info` alone keeps its certificate only if that very slot held or showed it;
//! - the copy of a single certificate is made anew at every PUT, which replaces the record as a whole;
//! - names of CA certificates are not shown twice, since that was recorded of certificates alone;
//! - the service's own policy may do everything, though it is listed with three rights;
//! - moments have decimals that order the writes within one second: the clock counts seconds.

use pki_core::path::Purpose;
use serde::{Deserialize, Serialize};

use crate::policy::Right;

/// What becomes of the secondary slot of an attestation by one certificate in the primary one.
///
/// The live service was recorded to answer the certificate in both slots. Whether it stores the copy is
/// not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SingleCertificate {
    /// Answers show it in both slots, the record holds it once.
    #[default]
    Shown,
    /// It is put into both slots.
    Stored,
    /// It stays in the one slot, which is not what was recorded.
    Once,
}

/// The choices that a user of the emulator may make differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Choices {
    /// What becomes of the secondary slot beside a single certificate. Default: it is shown there too.
    pub single_certificate: SingleCertificate,
    /// Whether GET and query show the certificates of enrollments beside their `info`. Default: no.
    pub show_certificates: bool,
    /// Whether the leaf of an individual enrollment must be within its dates. Default: no, the
    /// certificate is compared and nothing else.
    pub check_individual_dates: bool,
    /// Whether a proof of possession must be within its dates. Default: yes.
    pub check_proof_dates: bool,
    /// Whether one CA certificate may be uploaded under two names. Default: yes.
    pub allow_duplicate_certificates: bool,
    /// Whether a CA certificate that a group refers to can be deleted, so that the reference dangles.
    /// Default: yes, the documented answer to a breach does so.
    pub delete_referred_certificates: bool,
    /// Whether a group may refer to a CA certificate that was never uploaded. Default: no, 400.
    pub allow_unknown_references: bool,
    /// Whether a PUT of symmetric-key attestation without keys keeps those that are there. Default:
    /// no, it makes new ones, which exposes clients that do not send them.
    pub keep_keys_on_update: bool,
    /// Whether `If-Match` on an absent enrollment is answered 412. Default: yes; else 404.
    pub if_match_on_absent_is_stale: bool,
    /// Whether a provisioning status other than *enabled* and *disabled* is taken and kept, as a service of
    /// tomorrow might; whom such an entry decides about is not let in. Default: no, 400.
    pub take_unknown_statuses: bool,
    /// Whether a DELETE in the data plane needs `If-Match`. Default: no.
    pub delete_needs_if_match: bool,
    /// Whether the secondary thumbprint of a hub identity is a copy of the primary. Default: yes; else
    /// it is left out.
    pub copy_thumbprint: bool,
    /// Items on a page when the client names no number. Default: 100.
    pub page_default: usize,
    /// The most items on a page, whatever the client asks for. Default: 1000.
    pub page_most: usize,
    /// Whether a page may hold fewer items than were asked for though there are more. Default: no.
    pub short_pages: bool,
    /// How many polls are answered `assigning` at least, and how many polls of a change in ARM that it is
    /// running. Default: what the configuration says, and none.
    pub assigning_rounds: u32,
    /// How often a webhook that answers 429 or more is called again. Default: 10.
    pub webhook_retries: u32,
    /// How many seconds are between two such calls. Default: 10.
    pub webhook_wait_seconds: u32,
    /// Whether answers leave out the members that the documents do not promise. Default: no.
    pub bare_answers: bool,
}

impl Default for Choices {
    fn default() -> Self {
        Self {
            single_certificate: SingleCertificate::Shown,
            show_certificates: false,
            check_individual_dates: false,
            check_proof_dates: true,
            allow_duplicate_certificates: true,
            delete_referred_certificates: true,
            allow_unknown_references: false,
            keep_keys_on_update: false,
            if_match_on_absent_is_stale: true,
            take_unknown_statuses: false,
            delete_needs_if_match: false,
            copy_thumbprint: true,
            page_default: 100,
            page_most: 1000,
            short_pages: false,
            assigning_rounds: 0,
            webhook_retries: 10,
            webhook_wait_seconds: 10,
            bare_answers: false,
        }
    }
}

impl Choices {
    /// Of what is legal, that which careless clients get wrong: short pages, several rounds of
    /// `assigning`, dates that are checked, answers with nothing that is not promised, a single
    /// certificate in both slots.
    pub fn strict() -> Self {
        Self {
            check_individual_dates: true,
            page_default: 10,
            page_most: 100,
            short_pages: true,
            assigning_rounds: 3,
            bare_answers: true,
            single_certificate: SingleCertificate::Stored,
            ..Self::default()
        }
    }
}

/// What a leaf below a group must be good for. The documentation asks for clientAuth; a leaf that
/// forbids it is refused here, so that it is found before it meets the real service.
pub(crate) const LEAF_PURPOSE: Purpose = Purpose::Client;

/// The right that reading the keys of an enrollment takes.
pub(crate) const KEYS_RIGHT: Right = Right::EnrollmentWrite;

/// The error code of what would exceed a quota.
pub(crate) const QUOTA_CODE: u32 = 403_002;
