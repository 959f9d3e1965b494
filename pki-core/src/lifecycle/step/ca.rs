//! Steps on a CA certificate in DPS.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Expectation, Found, Kind, Plane, Standing};
use crate::admission::{DpsView, UploadedCa, ViewError};
use crate::certificate::pem::certificate_in_json;
use crate::ids::{AuthorityName, CertificateName, Sha1Thumbprint, Sha256Thumbprint};
use crate::lifecycle::{FieldChange, Subject};
use crate::management::CaCertificate;

/// A step on a CA certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct CaStep {
    /// The certificate's name in DPS.
    pub name: CertificateName,
    /// Which certificate it is: its identity in ARM.
    pub sha1_thumbprint: Sha1Thumbprint,
    /// What is done to it.
    pub action: CaAction,
    /// What to find there.
    pub expect: Expectation,
}

/// What is done to a CA certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaAction {
    /// Upload it.
    Upload {
        /// Whose certificate it is.
        authority: AuthorityName,
        /// The certificate, PEM.
        certificate: String,
        /// Its identity.
        sha256_thumbprint: Sha256Thumbprint,
        /// Whether it counts as verified at once, without a proof.
        self_attested: bool,
        /// The certificate in whose place it is put, if that is another one: what was verified by it is so
        /// no more.
        replaces: Option<Sha1Thumbprint>,
        /// As in [`Self::Delete`], of the certificate in whose place it is put.
        admitted: Vec<Sha1Thumbprint>,
    },
    /// Fetch a code, prove possession of the CA's key with it, and have DPS verify the proof.
    Prove {
        /// Whose key signs the proof.
        authority: AuthorityName,
    },
    /// Have DPS verify a proof of possession that was made elsewhere, for a code it gave before.
    Submit {
        /// The verification certificate, PEM.
        proof: String,
    },
    /// Delete it; groups that refer to it then admit nobody by it.
    Delete {
        /// The certificates of authorities below whose devices DPS admits by it and by nothing else; a breach
        /// roll writes them down, since DPS tells nobody any more once it is gone.
        admitted: Vec<Sha1Thumbprint>,
        /// Whether a certificate that is still to be made is put in its place: so a breach roll is shown
        /// beforehand.
        gives_way: bool,
    },
}

impl CaAction {
    /// The deletion of a certificate by which nobody is admitted whom another one does not admit too.
    pub fn deletion() -> Self {
        Self::Delete {
            admitted: vec![],
            gives_way: false,
        }
    }
}

impl CaStep {
    /// What is done to the certificate once this step is done.
    pub fn then(&self, action: CaAction) -> Self {
        Self {
            action,
            expect: Expectation::as_left(),
            ..self.clone()
        }
    }
}

impl CaStep {
    /// The certificate that the step takes out of DPS, with those below it that were admitted by it alone.
    pub fn cut_off(&self) -> Option<(&Sha1Thumbprint, &[Sha1Thumbprint])> {
        match &self.action {
            CaAction::Delete { admitted, .. } => Some((&self.sha1_thumbprint, admitted)),
            CaAction::Upload {
                replaces: Some(replaced),
                admitted,
                ..
            } => Some((replaced, admitted)),
            CaAction::Upload { replaces: None, .. }
            | CaAction::Prove { .. }
            | CaAction::Submit { .. } => None,
        }
    }

    /// Whether the certificate is verified by a key of ours once the step is done.
    pub fn verifies(&self) -> bool {
        match &self.action {
            CaAction::Upload { self_attested, .. } => *self_attested,
            CaAction::Prove { .. } => true,
            CaAction::Submit { .. } | CaAction::Delete { .. } => false,
        }
    }
}

impl Kind for CaStep {
    fn key(&self) -> String {
        format!("ca {}", self.name.as_str().to_ascii_lowercase())
    }

    fn name(&self) -> String {
        self.name.to_string()
    }

    fn plane(&self) -> Plane<'_> {
        Plane::Management
    }

    fn calls(&self) -> usize {
        match self.action {
            // A look, a code, the proof.
            CaAction::Prove { .. } => 3,
            // A look, and the write.
            CaAction::Upload { .. } | CaAction::Submit { .. } | CaAction::Delete { .. } => 2,
        }
    }

    fn subjects(&self) -> Vec<Subject> {
        let mut subjects = vec![Subject::Ca(self.name.clone())];
        match &self.action {
            CaAction::Upload { authority, .. } | CaAction::Prove { authority } => {
                subjects.push(Subject::Authority(authority.clone()));
            }
            CaAction::Submit { .. } | CaAction::Delete { .. } => {}
        }
        subjects
    }

    fn expect(&self) -> Option<&Expectation> {
        Some(&self.expect)
    }

    fn standing(&self, found: &Found, expect: &Expectation) -> Standing {
        let Found::Ca(held) = found else {
            return Standing::Gone;
        };
        match &self.action {
            CaAction::Upload { self_attested, .. } => {
                self.uploaded(held.as_deref(), *self_attested, expect)
            }
            CaAction::Prove { .. } | CaAction::Submit { .. } => self.proven(held.as_deref()),
            CaAction::Delete { .. } => self.deleted(held.as_deref(), expect),
        }
    }

    fn audit_word(&self) -> &'static str {
        match self.action {
            CaAction::Upload { .. } => "ca-uploaded",
            CaAction::Prove { .. } | CaAction::Submit { .. } => "ca-proven",
            CaAction::Delete { .. } => "ca-deleted",
        }
    }

    fn is_of_device(&self) -> bool {
        false
    }

    fn changes_admission(&self) -> bool {
        true
    }

    fn apply_to(&self, view: &mut DpsView) -> Result<(), ViewError> {
        match &self.action {
            CaAction::Upload {
                sha256_thumbprint,
                self_attested,
                ..
            } => view.put_uploaded(
                self.name.clone(),
                UploadedCa {
                    sha1_thumbprint: self.sha1_thumbprint,
                    sha256_thumbprint: Some(*sha256_thumbprint),
                    is_verified: *self_attested,
                },
            ),
            CaAction::Prove { .. } | CaAction::Submit { .. } => view.mark_verified(&self.name),
            CaAction::Delete { .. } => view.remove_ca(&self.name),
        }
        Ok(())
    }
}

impl CaStep {
    fn uploaded(
        &self,
        held: Option<&CaCertificate>,
        self_attested: bool,
        expect: &Expectation,
    ) -> Standing {
        match held {
            None => Standing::of_missing(expect),
            Some(held) if self.is_it(held) && (held.properties.is_verified || !self_attested) => {
                Standing::Done(held.etag.clone())
            }
            Some(held) => Standing::of_held(held.etag.as_ref(), expect),
        }
    }

    fn proven(&self, held: Option<&CaCertificate>) -> Standing {
        match held {
            None => Standing::Gone,
            Some(held) if !self.is_it(held) => Standing::Changed(vec![self.replaced_by(held)]),
            Some(held) if held.properties.is_verified => Standing::Done(held.etag.clone()),
            // A code that was made in between changes the tag and nothing else: the proof is bound
            // to the certificate, which is the same.
            Some(held) => Standing::as_held(held.etag.as_ref()),
        }
    }

    fn deleted(&self, held: Option<&CaCertificate>, expect: &Expectation) -> Standing {
        match held {
            Some(held) if !self.is_it(held) => Standing::Changed(vec![self.replaced_by(held)]),
            held => Standing::of_deleted(held.map(|held| held.etag.as_ref()), expect),
        }
    }

    fn is_it(&self, held: &CaCertificate) -> bool {
        thumbprint_of(held) == Some(self.sha1_thumbprint)
    }

    fn replaced_by(&self, held: &CaCertificate) -> FieldChange {
        FieldChange {
            field: "thumbprint".to_owned(),
            from: json!(self.sha1_thumbprint),
            to: json!(thumbprint_of(held)),
        }
    }
}

/// By the certificate itself where ARM gave it, else by its thumbprint.
fn thumbprint_of(held: &CaCertificate) -> Option<Sha1Thumbprint> {
    let text = held.properties.certificate.as_deref();
    let certificate = text.and_then(certificate_in_json);
    certificate
        .map(|read| read.sha1_thumbprint())
        .or(held.properties.thumbprint)
}

impl fmt::Display for CaStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.action {
            CaAction::Upload {
                self_attested,
                replaces,
                ..
            } => {
                let verb = if replaces.is_some() {
                    "replace"
                } else {
                    "upload"
                };
                let how = if *self_attested {
                    ", self-attested"
                } else {
                    ""
                };
                write!(f, "{verb} CA certificate {name}{how}")
            }
            CaAction::Prove { authority } => write!(
                f,
                "prove possession of CA certificate {name} with the key of {authority}"
            ),
            CaAction::Submit { .. } => {
                write!(
                    f,
                    "hand in the proof of possession of CA certificate {name}"
                )
            }
            CaAction::Delete {
                gives_way: true, ..
            } => write!(f, "replace CA certificate {name}"),
            CaAction::Delete { .. } => write!(f, "delete CA certificate {name}"),
        }
    }
}

/// How it is stored.
#[derive(Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    tag = "action"
)]
enum Stored {
    UploadCa {
        name: CertificateName,
        authority: AuthorityName,
        certificate: String,
        sha1_thumbprint: Sha1Thumbprint,
        sha256_thumbprint: Sha256Thumbprint,
        self_attested: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaces: Option<Sha1Thumbprint>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        admitted: Vec<Sha1Thumbprint>,
        expect: Expectation,
    },
    ProveCa {
        name: CertificateName,
        authority: AuthorityName,
        sha1_thumbprint: Sha1Thumbprint,
        expect: Expectation,
    },
    SubmitProof {
        name: CertificateName,
        sha1_thumbprint: Sha1Thumbprint,
        proof: String,
        expect: Expectation,
    },
    DeleteCa {
        name: CertificateName,
        sha1_thumbprint: Sha1Thumbprint,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        admitted: Vec<Sha1Thumbprint>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        gives_way: bool,
        expect: Expectation,
    },
}

impl From<Stored> for CaStep {
    fn from(stored: Stored) -> Self {
        let (name, sha1_thumbprint, action, expect) = match stored {
            Stored::UploadCa {
                name,
                authority,
                certificate,
                sha1_thumbprint,
                sha256_thumbprint,
                self_attested,
                replaces,
                admitted,
                expect,
            } => {
                let action = CaAction::Upload {
                    authority,
                    certificate,
                    sha256_thumbprint,
                    self_attested,
                    replaces,
                    admitted,
                };
                (name, sha1_thumbprint, action, expect)
            }
            Stored::ProveCa {
                name,
                authority,
                sha1_thumbprint,
                expect,
            } => {
                let action = CaAction::Prove { authority };
                (name, sha1_thumbprint, action, expect)
            }
            Stored::SubmitProof {
                name,
                sha1_thumbprint,
                proof,
                expect,
            } => (name, sha1_thumbprint, CaAction::Submit { proof }, expect),
            Stored::DeleteCa {
                name,
                sha1_thumbprint,
                admitted,
                gives_way,
                expect,
            } => {
                let action = CaAction::Delete {
                    admitted,
                    gives_way,
                };
                (name, sha1_thumbprint, action, expect)
            }
        };
        Self {
            name,
            sha1_thumbprint,
            action,
            expect,
        }
    }
}

impl From<CaStep> for Stored {
    fn from(step: CaStep) -> Self {
        let CaStep {
            name,
            sha1_thumbprint,
            action,
            expect,
        } = step;
        match action {
            CaAction::Upload {
                authority,
                certificate,
                sha256_thumbprint,
                self_attested,
                replaces,
                admitted,
            } => Self::UploadCa {
                name,
                authority,
                certificate,
                sha1_thumbprint,
                sha256_thumbprint,
                self_attested,
                replaces,
                admitted,
                expect,
            },
            CaAction::Prove { authority } => Self::ProveCa {
                name,
                authority,
                sha1_thumbprint,
                expect,
            },
            CaAction::Submit { proof } => Self::SubmitProof {
                name,
                sha1_thumbprint,
                proof,
                expect,
            },
            CaAction::Delete {
                admitted,
                gives_way,
            } => Self::DeleteCa {
                name,
                sha1_thumbprint,
                admitted,
                gives_way,
                expect,
            },
        }
    }
}
