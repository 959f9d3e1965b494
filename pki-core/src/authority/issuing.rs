//! A generation of an authority that can sign.

use crate::alternative_name::AlternativeName;
use crate::certificate::Certificate;
use crate::ids::{AuthorityName, Generation, LeafName, SerialNumber, VerificationCode};
use crate::issue::{IssueError, Issued, Issuer, Linted, Request, compose};
use crate::key::{KeyAlgorithm, KeyError, KeyGenerator, Signer};
use crate::name::DistinguishedName;
use crate::profile::LeafContent;
use crate::time::{Span, Time, TimeError, Validity};

/// What holds for every certificate that is issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IssuancePolicy {
    /// How far `notBefore` lies before the moment of issue, for devices whose clocks are slow.
    pub backdate: Span,
}

impl IssuancePolicy {
    /// Five minutes: what RFC 5280 does not say and every public CA does in some measure.
    pub const DEFAULT_BACKDATE: Span = Span::from_seconds(300);

    /// When a certificate is valid that is issued now: backdated, but not to before its issuer began,
    /// since an imported authority may be minutes old.
    ///
    /// # Errors
    /// [`TimeError::OutOfRange`] if it would end after the year 9999.
    pub fn validity_below(
        self,
        issuer: &Certificate,
        now: Time,
        span: Span,
    ) -> Result<Validity, TimeError> {
        let wished = Validity::starting(now, span, self.backdate)?;
        let began = issuer.validity().not_before();
        let begin = wished.not_before().max(began).min(wished.not_after());
        Ok(Validity::new(begin, wished.not_after()).unwrap_or(wished))
    }
}

impl Default for IssuancePolicy {
    fn default() -> Self {
        Self {
            backdate: Self::DEFAULT_BACKDATE,
        }
    }
}

/// What the certificate of an authority is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthoritySpec {
    /// Whose certificate it is.
    pub subject: DistinguishedName,
    /// How long it is valid.
    pub validity: Span,
    /// How many authorities may stand below it in a path; `None` for any number.
    pub path_length: Option<u8>,
    /// Whether its key usage has digitalSignature, beside keyCertSign and cRLSign.
    pub digital_signature: bool,
}

/// What a leaf is to say, beside whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafSpec {
    /// How long it is valid.
    pub validity: Span,
    /// What it says for its profile.
    pub content: LeafContent,
    /// The names under which others reach the device.
    pub alternative_names: Vec<AlternativeName>,
}

/// One generation of an authority, its key at hand.
pub struct SigningAuthority<'a> {
    name: AuthorityName,
    generation: Generation,
    certificate: Certificate,
    signer: &'a dyn Signer,
    policy: IssuancePolicy,
}

/// Why a certificate and a key do not make a signing authority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdoptError {
    /// The key is another one.
    #[error("the key of authority {name} does not belong to its certificate")]
    KeyMismatch {
        /// The authority.
        name: AuthorityName,
    },
    /// The certificate is not that of a CA (RFC 5280 §4.2.1.9).
    #[error(
        "the certificate of authority {name} is not that of a CA: basicConstraints does not say CA:TRUE"
    )]
    NotACa {
        /// The authority.
        name: AuthorityName,
    },
    /// The certificate's key usage does not include keyCertSign (RFC 5280 §4.2.1.3).
    #[error(
        "the certificate of authority {name} may not sign certificates: its key usage lacks keyCertSign"
    )]
    MayNotSign {
        /// The authority.
        name: AuthorityName,
    },
}

impl<'a> SigningAuthority<'a> {
    /// Takes a certificate and its key into use.
    ///
    /// # Errors
    /// [`AdoptError`]: the key is another one, or the certificate may not issue.
    pub fn new(
        name: AuthorityName,
        generation: Generation,
        certificate: Certificate,
        signer: &'a dyn Signer,
        policy: IssuancePolicy,
    ) -> Result<Self, AdoptError> {
        if certificate.public_key() != signer.public_key() {
            return Err(AdoptError::KeyMismatch { name });
        }
        if !certificate.is_ca() {
            return Err(AdoptError::NotACa { name });
        }
        if certificate
            .key_usage()
            .is_some_and(|usage| !usage.key_cert_sign())
        {
            return Err(AdoptError::MayNotSign { name });
        }
        Ok(Self {
            name,
            generation,
            certificate,
            signer,
            policy,
        })
    }

    /// The authority's name.
    pub fn name(&self) -> &AuthorityName {
        &self.name
    }

    /// Which generation this is.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Its certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Issues a leaf for a device's public key (SubjectPublicKeyInfo DER).
    ///
    /// # Errors
    /// [`IssueError`]: the validity or a check is against it.
    pub fn issue_leaf(
        &self,
        id: &LeafName,
        public_key: Vec<u8>,
        spec: &LeafSpec,
        serial_number: &SerialNumber,
        now: Time,
    ) -> Result<Issued, IssueError> {
        let validity = self.validity(now, spec.validity)?;
        let request = Request::leaf(id, public_key, validity, spec.content.clone())?
            .with_alternative_names(spec.alternative_names.clone());
        self.issue(&request, serial_number, now)
    }

    /// Issues the certificate of an authority below this one.
    ///
    /// # Errors
    /// [`IssueError`].
    pub fn issue_intermediate(
        &self,
        spec: &AuthoritySpec,
        public_key: Vec<u8>,
        serial_number: &SerialNumber,
        now: Time,
    ) -> Result<Issued, IssueError> {
        let checked = self.check_intermediate(spec, public_key, serial_number, now)?;
        self.sign(checked)
    }

    /// Makes every check on the certificate of an authority below this one, which [`Self::sign`] signs.
    ///
    /// # Errors
    /// [`IssueError`].
    pub fn check_intermediate(
        &self,
        spec: &AuthoritySpec,
        public_key: Vec<u8>,
        serial_number: &SerialNumber,
        now: Time,
    ) -> Result<Linted, IssueError> {
        let validity = self.validity(now, spec.validity)?;
        let subject = spec.subject.clone();
        let request = Request::intermediate(subject, public_key, validity, spec.path_length)
            .with_digital_signature(spec.digital_signature);
        self.check(&request, serial_number, now)
    }

    /// Signs what was checked.
    ///
    /// # Errors
    /// [`IssueError::Sign`].
    pub fn sign(&self, checked: Linted) -> Result<Issued, IssueError> {
        Ok(checked.sign(self.signer)?)
    }

    /// Issues the proof of possession of this authority's key: a day for the code, or until the
    /// authority's own end. The certificate's key is made here and forgotten.
    ///
    /// # Errors
    /// [`IssueError`].
    pub fn prove_possession(
        &self,
        code: &VerificationCode,
        generator: &dyn KeyGenerator,
        serial_number: &SerialNumber,
        now: Time,
    ) -> Result<Issued, PossessionError> {
        const LIFETIME: Span = Span::from_days(1);
        let key = generator.generate(KeyAlgorithm::EcdsaP256)?;
        let public_key = key.public_key().to_vec();
        let rest = self.certificate.validity().not_after() - now;
        let validity = self
            .validity(now, LIFETIME.min(rest))
            .map_err(IssueError::from)?;
        let request =
            Request::verification(code, public_key, validity).map_err(IssueError::from)?;
        Ok(self.issue(&request, serial_number, now)?)
    }

    fn issue(
        &self,
        request: &Request,
        serial_number: &SerialNumber,
        now: Time,
    ) -> Result<Issued, IssueError> {
        self.sign(self.check(request, serial_number, now)?)
    }

    fn check(
        &self,
        request: &Request,
        serial_number: &SerialNumber,
        now: Time,
    ) -> Result<Linted, IssueError> {
        let name = self.name.clone();
        let certificate = self.certificate.clone();
        let issuer = Issuer::authority(name, self.generation, certificate, self.signer);
        Ok(compose(request, &issuer, serial_number)?.lint(now)?)
    }

    fn validity(&self, now: Time, span: Span) -> Result<Validity, TimeError> {
        self.policy.validity_below(&self.certificate, now, span)
    }
}

/// Makes a root that signs itself.
///
/// # Errors
/// [`IssueError`].
pub fn create_root(
    name: AuthorityName,
    generation: Generation,
    spec: &AuthoritySpec,
    signer: &dyn Signer,
    policy: IssuancePolicy,
    serial_number: &SerialNumber,
    now: Time,
) -> Result<Issued, IssueError> {
    let validity = Validity::starting(now, spec.validity, policy.backdate)?;
    let request = Request::root(spec.subject.clone(), signer, validity, spec.path_length)
        .with_digital_signature(spec.digital_signature);
    let issuer = Issuer::self_signed(name, generation, &request, signer);
    Ok(compose(&request, &issuer, serial_number)?
        .lint(now)?
        .sign(signer)?)
}

/// Why a proof of possession was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PossessionError {
    /// Its key could not be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It could not be issued.
    #[error(transparent)]
    Issue(#[from] IssueError),
}
