//! What the service refuses, and the four shapes in which its planes say so.
//!
//! One enum for all planes: a number (its thousands are the HTTP status), a name and a message. The
//! planes differ in the body only: the data planes write `errorCode` and `trackingId`, ARM's provider
//! a flat `code`, ARM itself a nested `error`, and the hub a `Message` with the header
//! `iothub-errorcode`. Numbers and texts are those seen on the wire, or inferred from their order.

use http::StatusCode;
use pki_core::ids::{EnrollmentGroupId, IdError, RegistrationId};
use pki_core::ports::EntropyError;
use serde_json::{Value, json};

use crate::choices;
use crate::possession::PossessionError;

/// A refusal of the service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ServiceError {
    #[error("{0}")]
    ArgumentInvalid(String),
    #[error("Unknown api version {0:?}; supply api-version=YYYY-MM-DD")]
    ApiVersion(String),
    #[error("The body cannot be read: {0}")]
    MalformedBody(String),
    #[error(transparent)]
    PossessionFailed(#[from] PossessionError),
    #[error(
        "A provisioning service's name has 3 to 50 letters, digits and hyphens, begins and ends with a \
         letter or digit, and is not 'global'."
    )]
    InvalidServiceName,
    #[error("{0}")]
    InvalidRegistrationId(IdError),
    #[error("{0}")]
    InvalidEnrollmentGroupId(IdError),
    #[error("At most {most} enrollments are allowed in one request, not {given}")]
    TooManyEnrollments { given: usize, most: usize },
    #[error("At most {most} devices are allowed in one request, not {given}")]
    TooManyDevices { given: usize, most: usize },
    #[error("{0} occurs more than once in the request")]
    EnrollmentDefinedMultipleTimes(String),
    #[error("{0} occurs more than once in the request")]
    DeviceDefinedMultipleTimes(String),
    #[error("{0}")]
    Unauthorized(&'static str),
    #[error("Invalid certificate: {0}")]
    InvalidCertificate(String),
    #[error("Authentication failed. The 'Authorization' header is missing or invalid.")]
    ArmUnauthenticated,
    #[error("The Resource '{0}' was not found.")]
    ResourceNotFound(String),
    #[error("Certificate '{0}' not found.")]
    CertificateNotFound(String),
    #[error("There is no such path")]
    NoSuchPath,
    #[error("Enrollment {0} not found.")]
    EnrollmentNotFound(RegistrationId),
    #[error("Enrollment group {0} not found.")]
    EnrollmentGroupNotFound(EnrollmentGroupId),
    #[error("Device registration {0} not found.")]
    RegistrationNotFound(RegistrationId),
    #[error("Operation not found.")]
    OperationNotFound,
    #[error("Key name '{0}' not found.")]
    PolicyNotFound(String),
    #[error("Device {0} not registered")]
    DeviceNotFound(String),
    #[error("Device {0} is not online, or does not listen for methods")]
    DeviceNotOnline(String),
    #[error("Device {0} did not answer in time")]
    DeviceTimeout(String),
    #[error("{0} is not allowed here")]
    MethodNotAllowed(String),
    #[error("Enrollment already exists.")]
    EnrollmentConflict,
    #[error("EnrollmentGroup already exists.")]
    EnrollmentGroupConflict,
    #[error("Module {module} of device {device} not registered")]
    ModuleNotFound { device: String, module: String },
    #[error("Module {module} is already registered on device {device}.")]
    ModuleAlreadyExists { device: String, module: String },
    #[error("Device {0} has as many modules as it may have")]
    TooManyModules(String),
    #[error("A device with ID '{0}' is already registered.")]
    DeviceAlreadyExists(String),
    #[error(
        "The scope '{0}' cannot perform delete operation because it is locked: an emulator is its one \
         service."
    )]
    Locked(String),
    #[error("Invalid ETag supplied.")]
    PreconditionFailed,
    #[error(
        "Precondition failed: Device version did not match, existingVersion:{existing} newVersion:{given}"
    )]
    DeviceVersion { existing: String, given: String },
    #[error("ETag mismatch for device ID '{0}'")]
    TwinVersion(String),
    #[error("At most {most} {what} are allowed in this service.")]
    QuotaExceeded { what: &'static str, most: usize },
    #[error("Too many requests; try again in {retry_after_seconds} seconds.")]
    Throttled { retry_after_seconds: u64 },
    #[error("The service is unavailable.")]
    Unavailable,
    #[error("The body is longer than {0} bytes")]
    TooLarge(usize),
    #[error("The service failed: {0}")]
    Server(String),
}

impl From<EntropyError> for ServiceError {
    fn from(error: EntropyError) -> Self {
        Self::Server(error.to_string())
    }
}

/// The plane that answers, which decides the shape of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plane {
    /// ARM.
    Management,
    /// Enrollments and registrations, and the devices' own requests.
    Data,
    /// A hub's identity registry.
    Hub,
}

/// What goes into a body besides the error: when, and the identifier for support.
pub(crate) struct Occasion {
    pub(crate) tracking_id: String,
    pub(crate) timestamp: String,
}

impl ServiceError {
    /// The service's number for it.
    pub(crate) fn code(&self) -> u32 {
        self.number_and_name().0
    }

    /// The service's word for it: what hubs send as `iothub-errorcode` and ARM as nested `code`.
    pub(crate) fn name(&self) -> &'static str {
        self.number_and_name().1
    }

    /// The HTTP status: the thousands of the number.
    pub(crate) fn status(&self) -> StatusCode {
        u16::try_from(self.code() / 1000)
            .ok()
            .and_then(|status| StatusCode::from_u16(status).ok())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// How many seconds a client is asked to wait, if it is.
    pub(crate) fn retry_after_seconds(&self) -> Option<u64> {
        match self {
            Self::Throttled {
                retry_after_seconds,
            } => Some(*retry_after_seconds),
            _ => None,
        }
    }

    /// The body in the shape of a plane.
    pub(crate) fn body(&self, plane: Plane, occasion: &Occasion) -> Value {
        match plane {
            Plane::Data => self.data_body(occasion),
            Plane::Management if self.is_of_arm_itself() => {
                json!({"error": {"code": self.name(), "message": self.to_string()}})
            }
            Plane::Management => self.provider_body(occasion),
            Plane::Hub => self.hub_body(occasion),
        }
    }

    fn number_and_name(&self) -> (u32, &'static str) {
        match self {
            Self::ArgumentInvalid(_) => (400_004, "ArgumentInvalid"),
            Self::ApiVersion(_) => (400_004, "InvalidApiVersionParameter"),
            Self::MalformedBody(_) => (400_006, "IotHubFormatError"),
            Self::PossessionFailed(_) => (400_053, "BadRequest"),
            Self::InvalidServiceName => (400_305, "BadRequest"),
            Self::InvalidRegistrationId(_) => (400_202, "InvalidRegistrationId"),
            Self::InvalidEnrollmentGroupId(_) => (400_204, "InvalidEnrollmentGroupId"),
            Self::DeviceDefinedMultipleTimes(_) => (400_011, "DeviceDefinedMultipleTimes"),
            Self::TooManyEnrollments { .. } => (400_205, "TooManyEnrollments"),
            Self::EnrollmentDefinedMultipleTimes(_) => {
                (400_206, "RegistrationIdDefinedMultipleTimes")
            }
            Self::ArmUnauthenticated => (401_000, "AuthenticationFailed"),
            Self::Unauthorized(_) | Self::InvalidCertificate(_) => {
                (401_002, "IotHubUnauthorizedAccess")
            }
            Self::ResourceNotFound(_) => (404_000, "ResourceNotFound"),
            Self::NoSuchPath => (404_000, "NotFound"),
            Self::DeviceNotFound(_) => (404_001, "DeviceNotFound"),
            Self::ModuleNotFound { .. } => (404_010, "ModuleNotFound"),
            Self::DeviceNotOnline(_) => (404_103, "DeviceNotOnline"),
            Self::CertificateNotFound(_) => (404_015, "NotFound"),
            Self::PolicyNotFound(_) => (404_001, "NotFound"),
            Self::EnrollmentNotFound(_) => (404_201, "EnrollmentNotFound"),
            Self::RegistrationNotFound(_) => (404_202, "DeviceRegistrationNotFound"),
            Self::OperationNotFound => (404_203, "AsyncOperationNotFound"),
            Self::EnrollmentGroupNotFound(_) => (404_204, "EnrollmentGroupNotFound"),
            Self::MethodNotAllowed(_) => (405_000, "MethodNotAllowed"),
            Self::DeviceAlreadyExists(_) => (409_001, "DeviceAlreadyExists"),
            Self::ModuleAlreadyExists { .. } => (409_301, "ModuleAlreadyExistsOnDevice"),
            Self::TooManyModules(_) => (409_302, "TooManyModulesOnDevice"),
            Self::EnrollmentConflict => (409_201, "EnrollmentConflict"),
            Self::EnrollmentGroupConflict => (409_202, "EnrollmentGroupConflict"),
            Self::Locked(_) => (409_000, "ScopeLocked"),
            Self::PreconditionFailed | Self::DeviceVersion { .. } | Self::TwinVersion(_) => {
                (412_001, "PreconditionFailed")
            }
            Self::TooManyDevices { .. } => (413_002, "TooManyDevices"),
            Self::TooLarge(_) => (413_001, "MessageTooLarge"),
            Self::QuotaExceeded { .. } => (choices::QUOTA_CODE, "IotHubQuotaExceeded"),
            Self::Throttled { .. } => (429_001, "ThrottlingException"),
            Self::DeviceTimeout(_) => (504_101, "GatewayTimeout"),
            Self::Unavailable => (503_001, "ServiceUnavailable"),
            Self::Server(_) => (500_001, "ServerError"),
        }
    }

    fn is_of_arm_itself(&self) -> bool {
        matches!(
            self,
            Self::ArmUnauthenticated
                | Self::ResourceNotFound(_)
                | Self::NoSuchPath
                | Self::MethodNotAllowed(_)
                | Self::ApiVersion(_)
                | Self::Locked(_)
        )
    }

    fn data_body(&self, occasion: &Occasion) -> Value {
        json!({
            "errorCode": self.code(),
            "trackingId": occasion.tracking_id,
            "message": self.to_string(),
            "timestampUtc": occasion.timestamp,
        })
    }

    fn provider_body(&self, occasion: &Occasion) -> Value {
        let message = format!(
            "{self} If you contact a support representative please include this correlation \
             identifier: {}, timestamp: {}, errorcode: IH{}.",
            occasion.tracking_id,
            occasion.timestamp.replace('T', " "),
            self.code(),
        );
        let status = self.status().canonical_reason().unwrap_or_default();
        json!({
            "code": self.code(),
            "httpStatusCode": status.replace(' ', ""),
            "message": message,
        })
    }

    /// The body that a hub sends to a device over MQTT.
    pub(crate) fn device_body(&self, occasion: &Occasion) -> Value {
        let tracking_id = format!(
            "{}-G:{GATEWAY}-TimeStamp:{}",
            occasion.tracking_id.replace('-', ""),
            in_american_order(&occasion.timestamp),
        );
        self.data_body(&Occasion {
            tracking_id,
            timestamp: occasion.timestamp.clone(),
        })
    }

    fn hub_body(&self, occasion: &Occasion) -> Value {
        // Twins are kept elsewhere, and that place does not tell where it is.
        let gateway = match self {
            Self::TwinVersion(_) => String::new(),
            _ => format!("-G:{GATEWAY}"),
        };
        json!({
            "Message": format!("ErrorCode:{};{self}", self.name()),
            "ExceptionMessage": format!(
                "Tracking ID:{}{gateway}-TimeStamp:{}",
                occasion.tracking_id.replace('-', ""),
                in_american_order(&occasion.timestamp),
            ),
        })
    }
}

/// Which of a hub's front ends answered.
const GATEWAY: u32 = 1;

/// `2019-08-23T09:17:53Z` as hubs write it in their errors: `08/23/2019 09:17:53`.
fn in_american_order(timestamp: &str) -> String {
    let seconds = timestamp.trim_end_matches('Z');
    let parts: Vec<&str> = seconds.split(['-', 'T']).collect();
    match parts.as_slice() {
        [year, month, day, time] => format!("{month}/{day}/{year} {time}"),
        _ => seconds.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn occasion() -> Occasion {
        Occasion {
            tracking_id: "408d5ad7-aa7c-45a1-b19a-e4af41ccf54b".to_owned(),
            timestamp: "2019-08-23T09:17:53Z".to_owned(),
        }
    }

    #[test]
    fn one_error_has_four_shapes() {
        let stale = ServiceError::PreconditionFailed;
        let data = stale.body(Plane::Data, &occasion());
        assert_eq!(data["errorCode"], 412_001);
        let flat = stale.body(Plane::Management, &occasion());
        assert_eq!(
            (&flat["code"], &flat["httpStatusCode"]),
            (&json!(412_001), &json!("PreconditionFailed"))
        );
        assert!(
            flat["message"]
                .as_str()
                .expect("text")
                .ends_with("errorcode: IH412001.")
        );
        let nested = ServiceError::ArmUnauthenticated.body(Plane::Management, &occasion());
        assert_eq!(nested["error"]["code"], "AuthenticationFailed");
        let hub = stale.body(Plane::Hub, &occasion());
        assert!(
            hub["Message"]
                .as_str()
                .expect("text")
                .starts_with("ErrorCode:PreconditionFailed;")
        );
        assert_eq!(
            hub["ExceptionMessage"],
            "Tracking ID:408d5ad7aa7c45a1b19ae4af41ccf54b-G:1-TimeStamp:08/23/2019 09:17:53"
        );
    }

    #[test]
    fn the_status_is_the_thousands_of_the_number() {
        assert_eq!(
            ServiceError::OperationNotFound.status(),
            StatusCode::NOT_FOUND
        );
        assert_eq!(
            ServiceError::PreconditionFailed.status(),
            StatusCode::PRECONDITION_FAILED
        );
    }
}
