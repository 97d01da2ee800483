//! A server, a key and a namespace: what every command speaks through.

use std::time::Duration;

use fettle_client::{Client, ClientConfig};
use fettle_wire::batch::BatchModel;
use serde_json::Value;

use crate::answer;
use crate::args::{DEFAULT_NAMESPACE, DEFAULT_URL, GlobalArgs};
use crate::error::CliError;

/// Time to wait for a sign of life when a server is looked for: a loopback answers within milliseconds.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// A server, a key and a namespace.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    client: Client,
}

impl Connection {
    /// As the options say; nothing is sent yet.
    pub(crate) fn new(global: &GlobalArgs) -> Result<Self, CliError> {
        let config = ClientConfig {
            api_key: global.api_key.clone(),
            namespace: Some(namespace(global).to_owned()),
            ..ClientConfig::new(global.url.as_deref().unwrap_or(DEFAULT_URL))
        };
        Ok(Self {
            client: Client::new(config)?,
        })
    }

    /// The server's address.
    pub(crate) fn url(&self) -> &str {
        self.client.base_url()
    }

    /// The client, for what is more than JSON.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// `GET`.
    pub(crate) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, CliError> {
        Ok(self.client.get(path, query).await?)
    }

    /// `POST`.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, CliError> {
        Ok(self.client.post(path, body).await?)
    }

    /// `POST` of an operation that only reads.
    pub(crate) async fn post_query(&self, path: &str, body: &Value) -> Result<Value, CliError> {
        Ok(self.client.post_query(path, &[], body).await?)
    }

    /// A batch by its id alone.
    pub(crate) async fn batch(&self, id: &str) -> Result<(BatchModel, Value), CliError> {
        let path = format!("/v1/batches/{}", segment(id));
        let answer = self.get(&path, &[]).await?;
        Ok((answer::typed(self.url(), &answer)?, answer))
    }

    /// The path of a batch below its bucket.
    pub(crate) async fn batch_path(&self, id: &str) -> Result<String, CliError> {
        let (batch, _) = self.batch(id).await?;
        Ok(batch_path(&batch.bucket_id, &batch.batch_id))
    }
}

/// The path of a batch below its bucket.
pub(crate) fn batch_path(bucket_id: &str, batch_id: &str) -> String {
    format!(
        "/v1/buckets/{}/batches/{}",
        segment(bucket_id),
        segment(batch_id)
    )
}

/// The namespace that the options choose.
pub(crate) fn namespace(global: &GlobalArgs) -> &str {
    global.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE)
}

/// Whether something that speaks HTTP answers there. An error answer is a sign of life too.
pub(crate) async fn answers(global: &GlobalArgs) -> Result<bool, CliError> {
    let config = ClientConfig {
        api_key: global.api_key.clone(),
        timeout: PROBE_TIMEOUT,
        retries_max: 0,
        ..ClientConfig::new(global.url.as_deref().unwrap_or(DEFAULT_URL))
    };
    let probe = Client::new(config)?;
    match probe.get::<Value>("/v1/health", &[]).await {
        Ok(_) => Ok(true),
        Err(error) => Ok(!error.is_away()),
    }
}

/// A text as one segment of a path.
pub(crate) fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte))
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    // A segment of dots only would be taken as a step up.
    if out.bytes().all(|byte| byte == b'.') {
        out.replace('.', "%2E")
    } else {
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_leave_its_segment() {
        assert_eq!(segment("btch_1-a.b"), "btch_1-a.b");
        assert_eq!(segment("../x?y#z"), "..%2Fx%3Fy%23z");
        assert_eq!(segment(".."), "%2E%2E");
        assert_eq!(segment("ü"), "%C3%BC");
    }
}
