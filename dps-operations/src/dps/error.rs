//! Why a call to a service failed, or could not be made.

use std::error::Error;

use dps_client::ClientError;
use dps_client::api_version::ApiVersionError;
use dps_client::auth::ConnectionStringError;
use dps_client::base_url::BaseUrlError;
use dps_client::retry::Setback;
use pki_core::ids::{DpsName, HubHostName};
use pki_core::secret::SecretSource;

use crate::class::{Class, PortError, sentence};

/// Why a call to a service failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DpsError {
    /// The service said no, or nothing.
    #[error("{}", sentence(.0))]
    Client(ClientError),
    /// The plane cannot be set up; nothing was sent.
    #[error(transparent)]
    Plane(#[from] PlaneError),
    /// An adapter without HTTP said no.
    #[error("{message}")]
    Answered {
        /// As HTTP would have it.
        status: u16,
        /// Why.
        message: String,
    },
    /// An adapter without HTTP gave no answer, and may have done what was asked.
    #[error("the answer was lost")]
    Lost,
}

impl DpsError {
    /// What kind of failure it is.
    pub fn class(&self) -> Class {
        match self {
            Self::Plane(error) => error.class(),
            Self::Client(error) => error.into(),
            Self::Answered { .. } | Self::Lost => match self.status() {
                Some(409 | 412) => Class::Conflict,
                Some(404) => Class::NotFound,
                _ => Class::Service,
            },
        }
    }

    /// Why, without the record that was asked for: what is wrong with a hub is told of all its devices.
    pub fn cause(&self) -> String {
        match self {
            Self::Client(error) => error.cause(),
            error => error.to_string(),
        }
    }

    /// The status of the answer, if there was one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Client(error) => error.status().map(|status| status.as_u16()),
            Self::Answered { status, .. } => Some(*status),
            Self::Plane(_) | Self::Lost => None,
        }
    }

    /// Whether the service may have done what was asked: it failed, or its answer was lost.
    pub fn may_be_done(&self) -> bool {
        match self {
            Self::Client(error) => Setback::in_error(error).is_some_and(Setback::may_have_acted),
            Self::Answered { status, .. } => *status >= 500,
            Self::Lost => true,
            Self::Plane(_) => false,
        }
    }
}

impl From<ClientError> for DpsError {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

/// Why a plane cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaneError {
    /// CA certificates are held by a plane that is not declared.
    #[error("DPS {dps} has no management plane in pki.toml, and CA certificates are held there")]
    NoManagement {
        /// The instance.
        dps: DpsName,
    },
    /// Nothing is declared that a hub in Azure would believe.
    #[error("pki.toml does not say how to sign in to {hub}")]
    NoSignIn {
        /// The instance.
        dps: DpsName,
        /// The hub.
        hub: HubHostName,
    },
    /// A declared host is no address.
    #[error("DPS {dps}: {reason}")]
    Address {
        /// The instance.
        dps: DpsName,
        /// Why not.
        reason: BaseUrlError,
    },
    /// A declared API version is none.
    #[error("DPS {dps}: {reason}")]
    Version {
        /// The instance.
        dps: DpsName,
        /// Why not.
        reason: ApiVersionError,
    },
    /// A connection string cannot be read.
    #[error("{place}: {reason}")]
    ConnectionString {
        /// Where it is.
        place: SecretSource,
        /// Why not.
        reason: ConnectionStringError,
    },
    /// A connection string is for another host than the one that would be shown its key.
    #[error(
        "{place}: the connection string is for {own}, and pki.toml declares {declared} for DPS {dps}"
    )]
    OtherHost {
        /// The instance.
        dps: DpsName,
        /// Where it is.
        place: SecretSource,
        /// The host that it is for.
        own: String,
        /// The host that is declared.
        declared: String,
    },
    /// The credentials of Entra ID cannot be set up.
    #[error("the sign-in to Entra ID for DPS {dps} cannot be set up")]
    SignIn {
        /// The instance.
        dps: DpsName,
        /// Why not.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A secret that signing in takes.
    #[error(transparent)]
    Secret(#[from] PortError),
}

impl PlaneError {
    /// What kind of failure it is.
    pub fn class(&self) -> Class {
        match self {
            Self::Secret(error) => error.class,
            _ => Class::InvalidInput,
        }
    }
}
