//! Requests with an idempotency key, and their answers.

use async_trait::async_trait;
use fettle_model::UnixMillis;
use fettle_ports::{KnownRequest, RequestKey, RequestLog, StoreError, StoredAnswer};
use rusqlite::{Connection, params};

use super::SqliteStore;
use super::failure::Failure;

const OF_KEY: &str =
    "key_id = ?1 AND namespace = ?2 AND method = ?3 AND path = ?4 AND idempotency_key = ?5";

#[async_trait]
impl RequestLog for SqliteStore {
    async fn begin_request(
        &self,
        key: &RequestKey,
        body_hash: &str,
        server: &str,
        now: UnixMillis,
        forget_before: UnixMillis,
    ) -> Result<Option<KnownRequest>, StoreError> {
        let (key, body_hash, server) = (key.clone(), body_hash.to_owned(), server.to_owned());
        self.write(move |db| begin(db, &key, &body_hash, &server, now, forget_before))
            .await
    }

    async fn answer_request(
        &self,
        key: &RequestKey,
        answer: &StoredAnswer,
    ) -> Result<(), StoreError> {
        let (key, answer) = (key.clone(), answer.clone());
        self.write(move |db| put_answer(db, &key, &answer)).await
    }

    async fn forget_request(&self, key: &RequestKey) -> Result<(), StoreError> {
        let key = key.clone();
        self.write(move |db| forget(db, &key)).await
    }
}

fn begin(
    db: &Connection,
    key: &RequestKey,
    body_hash: &str,
    server: &str,
    now: UnixMillis,
    forget_before: UnixMillis,
) -> Result<Option<KnownRequest>, Failure> {
    db.prepare_cached("DELETE FROM requests WHERE begun_at < ?1")?
        .execute([forget_before.0])?;
    let begun = db
        .prepare_cached(
            "INSERT INTO requests (key_id, namespace, method, path, idempotency_key, body_hash, server, begun_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            key.key_id.as_str(),
            key.namespace,
            key.method,
            key.path,
            key.idempotency_key,
            body_hash,
            server,
            now.0
        ])?;
    if begun == 1 {
        return Ok(None);
    }
    known(db, key).map(Some)
}

fn known(db: &Connection, key: &RequestKey) -> Result<KnownRequest, Failure> {
    let sql = format!(
        "SELECT body_hash, server, status, content_type, answer FROM requests WHERE {OF_KEY}"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let known = statement.query_row(values(key), |row| {
        let status: Option<u16> = row.get(2)?;
        let (content_type, body) = (row.get(3)?, row.get(4)?);
        Ok(KnownRequest {
            body_hash: row.get(0)?,
            server: row.get(1)?,
            answer: status.map(|status| StoredAnswer {
                status,
                content_type,
                body,
            }),
        })
    })?;
    Ok(known)
}

fn values(key: &RequestKey) -> [&str; 5] {
    [
        key.key_id.as_str(),
        &key.namespace,
        &key.method,
        &key.path,
        &key.idempotency_key,
    ]
}

fn put_answer(db: &Connection, key: &RequestKey, answer: &StoredAnswer) -> Result<(), Failure> {
    let [id, namespace, method, path, idempotency_key] = values(key);
    let sql =
        format!("UPDATE requests SET status = ?6, content_type = ?7, answer = ?8 WHERE {OF_KEY}");
    db.prepare_cached(&sql)?.execute(params![
        id,
        namespace,
        method,
        path,
        idempotency_key,
        answer.status,
        answer.content_type,
        answer.body
    ])?;
    Ok(())
}

fn forget(db: &Connection, key: &RequestKey) -> Result<(), Failure> {
    let sql = format!("DELETE FROM requests WHERE {OF_KEY}");
    db.prepare_cached(&sql)?.execute(values(key))?;
    Ok(())
}
