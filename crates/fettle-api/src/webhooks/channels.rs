//! Receivers as they are given, kept and shown.

use std::collections::BTreeMap;

use axum::http::{HeaderName, HeaderValue};
use fettle_ports::{Secret, WebhookChannel};
use fettle_wire::webhook::{
    ChannelConfigs, KEPT, NotificationChannel, WebhookChannelInput, WebhookChannelOutput,
};

use crate::error::ApiError;
use crate::state::ApiState;

/// How long a receiver may take when nobody says otherwise, in seconds; the contract's default.
const TIMEOUT_DEFAULT_S: f64 = 10.0;
/// How long a receiver may take, in seconds; each holds one of a few places while it does.
const TIMEOUT_S: std::ops::RangeInclusive<f64> = 1.0..=30.0;
/// Lengths of a secret that a user chooses: shorter ones can be guessed.
const SECRET_LENGTH: std::ops::RangeInclusive<usize> = 16..=256;
/// Headers of one receiver.
const HEADERS_MAX: usize = 20;
/// Longest address.
const ADDRESS_LENGTH_MAX: usize = 2_000;
/// Longest text of Slack's.
const TEXT_LENGTH_MAX: usize = 200;
/// Headers that say how a request is sent, and so are not the user's.
const RESERVED_HEADERS: [&str; 6] = [
    "host",
    "connection",
    "content-length",
    "content-type",
    "transfer-encoding",
    "upgrade",
];

/// A receiver that is ready to be stored.
pub(super) struct Built {
    pub(super) channel: WebhookChannel,
    /// Whether its secret was made here and is to be shown.
    pub(super) is_secret_new: bool,
}

/// Where a misfit stands.
struct At(String);

impl At {
    fn invalid(&self, key: &str, message: impl Into<String>) -> ApiError {
        ApiError::invalid(&["channels", &self.0, "configs", key], message)
    }
}

/// Checks the receiver at `place`; `present` is the one that it replaces, whose credentials it may keep.
pub(super) fn build(
    state: &ApiState,
    place: usize,
    sent: WebhookChannelInput,
    present: Option<&WebhookChannel>,
) -> Result<Built, ApiError> {
    let at = At(place.to_string());
    refuse_others(&at, sent.channel, &sent.configs)?;
    match sent.channel {
        NotificationChannel::Webhook => webhook(state, &at, sent.configs, present),
        NotificationChannel::Slack => slack(state, &at, sent.configs, present),
    }
}

/// A key of the other kind of receiver would have no effect.
fn refuse_others(
    at: &At,
    channel: NotificationChannel,
    configs: &ChannelConfigs,
) -> Result<(), ApiError> {
    let of_webhook = [
        ("url", configs.url.is_some()),
        ("headers", configs.headers.is_some()),
        ("signing_secret", configs.signing_secret.is_some()),
        ("timeout", configs.timeout.is_some()),
    ];
    let of_slack = [
        ("webhook_url", configs.webhook_url.is_some()),
        ("channel", configs.channel.is_some()),
        ("username", configs.username.is_some()),
        ("icon_emoji", configs.icon_emoji.is_some()),
        ("icon_url", configs.icon_url.is_some()),
    ];
    let (others, name): (&[_], _) = match channel {
        NotificationChannel::Webhook => (&of_slack, "webhook"),
        NotificationChannel::Slack => (&of_webhook, "slack"),
    };
    match others.iter().find(|(_, is_sent)| *is_sent) {
        Some((key, _)) => Err(at.invalid(key, format!("is not a key of a `{name}` channel"))),
        None => Ok(()),
    }
}

fn webhook(
    state: &ApiState,
    at: &At,
    configs: ChannelConfigs,
    present: Option<&WebhookChannel>,
) -> Result<Built, ApiError> {
    let url = configs.url.unwrap_or_default();
    check_address(state, at, "url", &url)?;
    let timeout_s = configs.timeout.unwrap_or(TIMEOUT_DEFAULT_S);
    if !TIMEOUT_S.contains(&timeout_s) {
        let (least, most) = (TIMEOUT_S.start(), TIMEOUT_S.end());
        return Err(at.invalid("timeout", format!("must be from {least} to {most} seconds")));
    }
    let (kept_secret, kept_headers) = match present {
        Some(WebhookChannel::Webhook {
            url: before,
            secret,
            headers,
            ..
        }) => (
            Some(secret.clone()),
            // A credential is not sent to another address than the one that it was given for.
            (*before == url).then_some(headers),
        ),
        _ => (None, None),
    };
    let (secret, is_secret_new) = match (configs.signing_secret, kept_secret) {
        (Some(chosen), _) => (chosen_secret(at, chosen)?, false),
        (None, Some(kept)) => (kept, false),
        (None, None) => (new_secret(state), true),
    };
    let headers = headers(at, configs.headers.unwrap_or_default(), kept_headers)?;
    Ok(Built {
        channel: WebhookChannel::Webhook {
            url,
            secret,
            headers,
            // Bounded above, so that this is exact.
            timeout_ms: (timeout_s * 1_000.0) as u64,
        },
        is_secret_new,
    })
}

fn new_secret(state: &ApiState) -> Secret {
    let random = [state.id_bits(), state.id_bits()].concat();
    Secret(fettle_webhook::new_secret(&random))
}

fn chosen_secret(at: &At, chosen: String) -> Result<Secret, ApiError> {
    let is_fit =
        SECRET_LENGTH.contains(&chosen.len()) && chosen.bytes().all(|b| b.is_ascii_graphic());
    if is_fit {
        return Ok(Secret(chosen));
    }
    let (least, most) = (SECRET_LENGTH.start(), SECRET_LENGTH.end());
    let message = format!(
        "must have from {least} to {most} visible ASCII characters; leave it out to have one made"
    );
    Err(at.invalid("signing_secret", message))
}

fn headers(
    at: &At,
    sent: BTreeMap<String, String>,
    kept: Option<&BTreeMap<String, Secret>>,
) -> Result<BTreeMap<String, Secret>, ApiError> {
    let refuse = |message: String| Err(at.invalid("headers", message));
    if sent.len() > HEADERS_MAX {
        return refuse(format!("has more than {HEADERS_MAX}"));
    }
    let mut headers = BTreeMap::new();
    for (name, value) in sent {
        let name = name.to_lowercase();
        let is_reserved = RESERVED_HEADERS.contains(&name.as_str()) || name.starts_with("webhook-");
        if HeaderName::try_from(&name).is_err() || is_reserved {
            return refuse(format!("`{name}` cannot be set"));
        }
        let value = if value == KEPT {
            let Some(kept) = kept.and_then(|kept| kept.get(&name)) else {
                return refuse(format!(
                    "`{name}` has no value to keep for this address: give it again"
                ));
            };
            kept.clone()
        } else {
            Secret(value)
        };
        if HeaderValue::try_from(&value.0).is_err() {
            return refuse(format!(
                "the value of `{name}` has characters that no header may have"
            ));
        }
        headers.insert(name, value);
    }
    Ok(headers)
}

fn slack(
    state: &ApiState,
    at: &At,
    configs: ChannelConfigs,
    present: Option<&WebhookChannel>,
) -> Result<Built, ApiError> {
    let sent = configs.webhook_url.unwrap_or_default();
    let kept = match present {
        Some(WebhookChannel::Slack { url, .. }) if masked(&url.0) == sent => Some(url.clone()),
        _ => None,
    };
    let url = match kept {
        Some(kept) => kept,
        None => {
            check_address(state, at, "webhook_url", &sent)?;
            Secret(sent)
        }
    };
    let texts = [
        ("channel", configs.channel),
        ("username", configs.username),
        ("icon_emoji", configs.icon_emoji),
        ("icon_url", configs.icon_url),
    ];
    let mut fields = BTreeMap::new();
    for (key, text) in texts {
        let Some(text) = text else { continue };
        if text.chars().count() > TEXT_LENGTH_MAX {
            return Err(at.invalid(key, format!("has more than {TEXT_LENGTH_MAX} characters")));
        }
        fields.insert(key.to_owned(), text);
    }
    Ok(Built {
        channel: WebhookChannel::Slack { url, fields },
        is_secret_new: false,
    })
}

fn check_address(state: &ApiState, at: &At, key: &str, address: &str) -> Result<(), ApiError> {
    check_receiver(state, address).map_err(|message| at.invalid(key, message))
}

/// Whether a receiver may stand at `address`, in words that fit behind its name.
pub(crate) fn check_receiver(state: &ApiState, address: &str) -> Result<(), String> {
    if address.len() > ADDRESS_LENGTH_MAX {
        return Err(format!("has more than {ADDRESS_LENGTH_MAX} characters"));
    }
    fettle_webhook::check_address(address, &state.control().config().webhook_hosts)
}

/// An address of which no more than the host is shown.
fn masked(address: &str) -> String {
    let host = url::Url::parse(address).ok();
    let host = host.as_ref().and_then(url::Url::host_str).unwrap_or("…");
    format!("https://{host}/{KEPT}")
}

/// Shows a receiver; its secret only where it was made just now.
pub(super) fn view(channel: &WebhookChannel, with_secret: bool) -> WebhookChannelOutput {
    match channel {
        WebhookChannel::Webhook {
            url,
            secret,
            headers,
            timeout_ms,
        } => WebhookChannelOutput {
            channel: NotificationChannel::Webhook,
            configs: ChannelConfigs {
                url: Some(url.clone()),
                headers: Some(
                    headers
                        .keys()
                        .map(|name| (name.clone(), KEPT.to_owned()))
                        .collect(),
                ),
                signing_secret: with_secret.then(|| secret.0.clone()),
                timeout: Some(*timeout_ms as f64 / 1_000.0),
                ..ChannelConfigs::default()
            },
        },
        WebhookChannel::Slack { url, fields } => WebhookChannelOutput {
            channel: NotificationChannel::Slack,
            configs: ChannelConfigs {
                webhook_url: Some(masked(&url.0)),
                channel: fields.get("channel").cloned(),
                username: fields.get("username").cloned(),
                icon_emoji: fields.get("icon_emoji").cloned(),
                icon_url: fields.get("icon_url").cloned(),
                ..ChannelConfigs::default()
            },
        },
    }
}
