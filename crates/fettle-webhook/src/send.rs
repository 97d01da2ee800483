//! One try of one delivery.
//!
//! Owns what stands in a request and which answers count as taken. Nothing that a receiver says beyond its status is kept: it
//! is not ours, and may be anything.

use std::collections::BTreeMap;
use std::time::Duration;

use fettle_model::UnixMillis;
use fettle_outbound::{Guard, PrivateAddress, Refused};
use fettle_ports::{
    BatchRecord, DeliveryRecord, DeliveryTarget, StoreError, StoreExt as _, WebhookChannel,
    WebhookRecord,
};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, ClientBuilder};
use serde_json::{Map, Value, json};
use url::Url;

use crate::deliver::{WebhookPorts, WebhookSettings};
use crate::sign::{batch_secret, signature};

/// A receiver that does not accept a connection for this long is counted as away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a batch's own address may take.
const ONE_OFF_TIMEOUT: Duration = Duration::from_secs(10);
/// A receiver that answers so is gone for good and is not asked again.
const GONE: u16 = 410;

/// How a try ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The receiver took it.
    Taken(u16),
    /// It may be taken later.
    NotTaken(Option<u16>, String),
    /// It will never be taken.
    GivenUp(Option<u16>, String),
}

/// Clients for receivers.
pub(crate) fn guard(settings: &WebhookSettings) -> Result<Guard, reqwest::Error> {
    Guard::new(&settings.allowed_hosts, client)
}

fn client() -> ClientBuilder {
    Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(concat!("fettle/", env!("CARGO_PKG_VERSION")))
}

/// Whether a receiver may stand at `address`, as far as it shows without resolving its name; each try checks again.
///
/// # Errors
/// With the reason, in words that fit "the address …".
pub fn check_address(address: &str, allowed_hosts: &[String]) -> Result<(), String> {
    let url = Url::parse(address).map_err(|error| format!("is not an address: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or password; use `headers`".to_owned());
    }
    fettle_outbound::check(&url, allowed_hosts).map_err(|refused| match refused {
        Refused::NotHttp => "must begin with http:// or https://".to_owned(),
        Refused::NoHost => "has no host".to_owned(),
        Refused::Private(private) => format!(
            "is not public ({}); whoever runs the server can allow its host with --allow-webhook-host",
            private.address
        ),
    })
}

/// What is sent.
struct Request {
    url: String,
    body: Vec<u8>,
    headers: HeaderMap,
    timeout: Duration,
}

/// Tries a delivery once.
pub(crate) async fn attempt(
    ports: &WebhookPorts,
    settings: &WebhookSettings,
    guard: &Guard,
    delivery: &DeliveryRecord,
) -> Result<Outcome, StoreError> {
    let now = ports.clock.now();
    let request = match request(ports, settings, delivery, now).await? {
        Ok(request) => request,
        Err(why) => return Ok(Outcome::GivenUp(None, why.to_owned())),
    };
    Ok(send(guard, request).await)
}

async fn request(
    ports: &WebhookPorts,
    settings: &WebhookSettings,
    delivery: &DeliveryRecord,
    now: UnixMillis,
) -> Result<Result<Request, &'static str>, StoreError> {
    match &delivery.target {
        DeliveryTarget::Webhook {
            webhook_id,
            channel,
        } => {
            let namespace = Some(&delivery.namespace_id);
            let found: Option<WebhookRecord> =
                ports.store.find(namespace, webhook_id.as_str()).await?;
            let Some(webhook) = found else {
                return Ok(Err("the webhook was deleted"));
            };
            if !webhook.is_active {
                return Ok(Err("the webhook is not active"));
            }
            let channel = usize::try_from(*channel).ok();
            let channel = channel.and_then(|place| webhook.channels.get(place));
            Ok(channel
                .map(|channel| to_channel(channel, delivery, now))
                .ok_or("the webhook has no such channel any more"))
        }
        DeliveryTarget::Batch { batch_id } => {
            let found = ports.store.get_batch(None, batch_id).await?;
            let url = found.and_then(|(record, _): (BatchRecord, _)| record.webhook_url);
            let secret = batch_secret(&settings.server_secret, batch_id);
            let none = BTreeMap::new();
            Ok(url
                .map(|url| signed(&url, &secret, &none, ONE_OFF_TIMEOUT, delivery, now))
                .ok_or("the batch was deleted"))
        }
    }
}

fn to_channel(channel: &WebhookChannel, delivery: &DeliveryRecord, now: UnixMillis) -> Request {
    match channel {
        WebhookChannel::Webhook {
            url,
            secret,
            headers,
            timeout_ms,
        } => {
            let headers = headers.iter();
            let headers = headers
                .map(|(name, value)| (name.as_str(), value.0.as_str()))
                .collect();
            let timeout = Duration::from_millis(*timeout_ms);
            signed(url, &secret.0, &headers, timeout, delivery, now)
        }
        WebhookChannel::Slack { url, fields } => {
            let mut body: Map<String, Value> = fields
                .iter()
                .map(|(name, value)| (name.clone(), json!(value)))
                .collect();
            body.insert("text".to_owned(), sentence(delivery).into());
            Request {
                url: url.0.clone(),
                body: Value::Object(body).to_string().into_bytes(),
                headers: json_headers(),
                timeout: ONE_OFF_TIMEOUT,
            }
        }
    }
}

/// For people.
fn sentence(delivery: &DeliveryRecord) -> String {
    let data = &delivery.payload["data"];
    let mut text = format!("Fettle: {}", delivery.event_type);
    for key in [
        "batch_id",
        "batch_name",
        "collection_id",
        "object_id",
        "status",
        "reason",
    ] {
        if let Some(value) = data[key].as_str() {
            text.push_str(&format!(" · {key} {value}"));
        }
    }
    text
}

fn json_headers() -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))])
}

fn signed(
    url: &str,
    secret: &str,
    own: &BTreeMap<&str, &str>,
    timeout: Duration,
    delivery: &DeliveryRecord,
    now: UnixMillis,
) -> Request {
    let body = delivery.payload.to_string().into_bytes();
    let id = delivery.delivery_id.as_str();
    let timestamp_s = now.0 / 1_000;
    let mut headers = json_headers();
    let ours = [
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", timestamp_s.to_string()),
        (
            "webhook-signature",
            signature(secret, id, timestamp_s, &body),
        ),
        ("webhook-attempt", (delivery.attempts.len() + 1).to_string()),
    ];
    // Ours come last: no header of a user's can take their place.
    let own = own.iter().map(|(name, value)| (*name, (*value).to_owned()));
    for (name, value) in own.chain(ours) {
        let pair = HeaderName::try_from(name)
            .ok()
            .zip(HeaderValue::try_from(value).ok());
        if let Some((name, value)) = pair {
            headers.insert(name, value);
        }
    }
    Request {
        url: url.to_owned(),
        body,
        headers,
        timeout,
    }
}

async fn send(guard: &Guard, request: Request) -> Outcome {
    let Ok(url) = Url::parse(&request.url) else {
        return Outcome::GivenUp(None, "the address cannot be read".to_owned());
    };
    let client = match guard.client_for(&url) {
        Ok(client) => client,
        Err(refused) => return Outcome::GivenUp(None, refused.to_string()),
    };
    let sent = client
        .post(url)
        .headers(request.headers)
        .timeout(request.timeout)
        .body(request.body)
        .send()
        .await;
    match sent {
        Ok(answer) => judge(answer.status().as_u16()),
        Err(error) => match PrivateAddress::behind(&error) {
            Some(private) => Outcome::GivenUp(None, private.to_string()),
            None => Outcome::NotTaken(None, in_words(&error)),
        },
    }
}

fn judge(status: u16) -> Outcome {
    let told = |why: &str| format!("the receiver answered {status}{why}");
    match status {
        200..=299 => Outcome::Taken(status),
        300..=399 => Outcome::NotTaken(Some(status), told("; redirects are not followed")),
        GONE => Outcome::GivenUp(Some(status), told(", gone for good")),
        _ => Outcome::NotTaken(Some(status), told("")),
    }
}

/// What kept a request from an answer, without the address: its query may be a secret.
fn in_words(error: &reqwest::Error) -> String {
    let words = if error.is_timeout() {
        "the receiver did not answer in time"
    } else if error.is_connect() {
        "no connection to the receiver"
    } else {
        "the exchange with the receiver broke off"
    };
    words.to_owned()
}
