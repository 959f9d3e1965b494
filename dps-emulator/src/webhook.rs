//! Webhooks over HTTP. Redirects are not followed.

use std::time::Duration;

use futures::future::BoxFuture;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use crate::domain::allocation::AllocationError;
use crate::domain::webhook::{Allocated, Patience, Webhook, Webhooks};
use crate::nesting::{DEEPEST, is_too_deep};

/// How long one call may take.
const TIME_LIMIT: Duration = Duration::from_secs(20);

/// How much of an answer is read.
const ANSWER_MOST: usize = 128 * 1024;

/// The webhooks that HTTP reaches.
pub(crate) struct HttpWebhooks;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(default)]
    iot_hub_host_name: Option<String>,
    #[serde(default)]
    initial_twin: Option<Value>,
    #[serde(default)]
    payload: Option<Value>,
}

impl Webhooks for HttpWebhooks {
    fn call<'a>(
        &'a self,
        webhook: &'a Webhook,
        request: &'a Value,
        patience: Patience,
    ) -> BoxFuture<'a, Result<Allocated, AllocationError>> {
        Box::pin(call(webhook, request, patience))
    }
}

async fn call(
    webhook: &Webhook,
    request: &Value,
    patience: Patience,
) -> Result<Allocated, AllocationError> {
    let client = Client::builder()
        .timeout(TIME_LIMIT)
        .redirect(Policy::none())
        .build()
        .map_err(|error| AllocationError::Unreached(error.to_string()))?;
    let mut tries = 0;
    loop {
        match try_once(webhook, &client, request).await {
            Err(AllocationError::Status(status))
                if status >= StatusCode::TOO_MANY_REQUESTS && tries < patience.retries =>
            {
                tries += 1;
                tracing::info!(%status, tries, "the webhook is called again");
                tokio::time::sleep(patience.wait).await;
            }
            decided => return decided,
        }
    }
}

async fn try_once(
    webhook: &Webhook,
    client: &Client,
    request: &Value,
) -> Result<Allocated, AllocationError> {
    let unreached =
        |error: reqwest::Error| AllocationError::Unreached(error.without_url().to_string());
    let sent = client.post(webhook.url.clone()).json(request).send().await;
    let mut response = sent.map_err(unreached)?;
    match response.status() {
        StatusCode::UNAUTHORIZED => return Err(AllocationError::WebhookUnauthorized),
        status if !status.is_success() => return Err(AllocationError::Status(status)),
        _ => {}
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreached)? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_MOST {
            return Err(AllocationError::Unreadable("it is too long".to_owned()));
        }
    }
    let answer: Answer = serde_json::from_slice(&body)
        .map_err(|error| AllocationError::Unreadable(error.to_string()))?;
    let documents = [&answer.initial_twin, &answer.payload];
    if documents.into_iter().flatten().any(is_too_deep) {
        let problem = format!("it is nested more than {DEEPEST} levels deep");
        return Err(AllocationError::Unreadable(problem));
    }
    let hub = answer
        .iot_hub_host_name
        .unwrap_or_default()
        .parse()
        .map_err(|_| AllocationError::HubNotSpecified)?;
    Ok(Allocated {
        hub,
        initial_twin: answer.initial_twin.filter(|twin| !twin.is_null()),
        payload: answer.payload.filter(|payload| !payload.is_null()),
    })
}
