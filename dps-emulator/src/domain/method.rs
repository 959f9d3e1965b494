//! Direct methods: a request of the hub's service API that the device itself answers.

use std::time::Duration;

use pki_core::ids::{DeviceId, HubHostName};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::Dps;
use super::connection::{Event, MethodCall, MethodResult};
use crate::error::ServiceError;

/// How often is looked whether a device has connected by now.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How long a device may take to answer, in seconds, unless the caller says otherwise.
const RESPONSE_TIME: u64 = 30;
const RESPONSE_TIMES: std::ops::RangeInclusive<u64> = 5..=300;
const CONNECT_TIME_MOST: u64 = 300;

/// What a caller asks for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MethodRequest {
    method_name: String,
    #[serde(default)]
    payload: Value,
    /// How long to wait for the device to connect; by default not at all.
    #[serde(default)]
    connect_timeout_in_seconds: u64,
    response_timeout_in_seconds: Option<u64>,
}

impl MethodRequest {
    fn response_time(&self) -> Duration {
        Duration::from_secs(self.response_timeout_in_seconds.unwrap_or(RESPONSE_TIME))
    }

    fn check(&self) -> Result<(), ServiceError> {
        let refuse = |problem: &str| Err(ServiceError::ArgumentInvalid(problem.to_owned()));
        let is_name = !self.method_name.is_empty()
            && self.method_name.len() <= 100
            && !self.method_name.contains(['/', '+', '#', '?', '\0']);
        if !is_name {
            return refuse("methodName must have 1 to 100 characters, none of / + # ?");
        }
        if !RESPONSE_TIMES.contains(&self.response_time().as_secs()) {
            return refuse("responseTimeoutInSeconds must be from 5 to 300");
        }
        if self.connect_timeout_in_seconds > CONNECT_TIME_MOST {
            return refuse("connectTimeoutInSeconds must be at most 300");
        }
        Ok(())
    }
}

impl Dps {
    /// Calls a method of a device and waits for its answer.
    pub(crate) async fn call_method(
        &self,
        hub: &HubHostName,
        id: &DeviceId,
        request: &MethodRequest,
    ) -> Result<MethodResult, ServiceError> {
        request.check()?;
        self.device(hub, id)?;
        let connect_time = Duration::from_secs(request.connect_timeout_in_seconds);
        let deadline = Instant::now() + connect_time;
        let not_online = || ServiceError::DeviceNotOnline(id.to_string());
        loop {
            let (reply, replied) = oneshot::channel();
            let call = MethodCall {
                name: request.method_name.clone(),
                payload: request.payload.clone(),
                reply,
            };
            self.connections.tell(hub, id, Event::Method(call));
            match timeout(request.response_time(), replied).await {
                Ok(Ok(result)) => return Ok(result),
                // It was dropped: the device is not there, or does not listen.
                Ok(Err(_)) if Instant::now() >= deadline => return Err(not_online()),
                Ok(Err(_)) => sleep(LOOK_AGAIN).await,
                Err(_) => return Err(ServiceError::DeviceTimeout(id.to_string())),
            }
        }
    }
}
