//! Records that are kept by id and name.

use fettle_model::NamespaceId;
use fettle_ports::{Page, Resource, ResourceKind, StoreError};
use rusqlite::{Connection, OptionalExtension, Params, named_params, params};
use serde_json::Value;

use super::codec::{decode, encode};
use super::failure::{Failure, changed, taken};
use super::filter::{Conditions, Order};

/// A record with its body in its stored form.
pub(super) struct ResourceRow {
    kind: ResourceKind,
    namespace: NamespaceId,
    id: String,
    name: String,
    body: String,
}

impl ResourceRow {
    /// Encodes a record of a known type.
    pub(super) fn of<R: Resource>(record: &R) -> Result<Self, StoreError> {
        Ok(Self {
            kind: R::KIND,
            namespace: record.namespace_id().clone(),
            id: record.id().to_owned(),
            name: record.name().to_owned(),
            body: encode(R::KIND.as_str(), record.id(), record)?,
        })
    }

    /// Encodes a record.
    pub(super) fn new(
        kind: ResourceKind,
        namespace: &NamespaceId,
        id: &str,
        name: &str,
        body: &Value,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            kind,
            namespace: namespace.clone(),
            id: id.to_owned(),
            name: name.to_owned(),
            body: encode(kind.as_str(), id, body)?,
        })
    }
}

/// Whether names of this kind are looked up without a namespace, and so must be unique over all of them.
fn is_global(kind: ResourceKind) -> bool {
    match kind {
        ResourceKind::Namespace | ResourceKind::ApiKey => true,
        ResourceKind::Bucket
        | ResourceKind::Collection
        | ResourceKind::Plugin
        | ResourceKind::Task
        | ResourceKind::Webhook
        | ResourceKind::Upload
        | ResourceKind::Schedule => false,
    }
}

/// Within what the name must be unique.
fn scope(kind: ResourceKind, namespace: &NamespaceId) -> &str {
    if is_global(kind) {
        ""
    } else {
        namespace.as_str()
    }
}

/// Case is ignored in searches, for all alphabets; SQLite's own LIKE knows ASCII only.
fn fold(name: &str) -> String {
    name.to_lowercase()
}

/// Adds a record.
pub(super) fn insert(db: &Connection, row: &ResourceRow) -> Result<(), Failure> {
    let kind = row.kind.as_str();
    let mut statement = db.prepare_cached(
        "INSERT INTO resources (kind, namespace_id, id, scope, name, name_folded, body)
         VALUES (:kind, :namespace, :id, :scope, :name, :folded, :body)",
    )?;
    let inserted = statement.execute(named_params! {
        ":kind": kind,
        ":namespace": row.namespace.as_str(),
        ":id": row.id,
        ":scope": scope(row.kind, &row.namespace),
        ":name": row.name,
        ":folded": fold(&row.name),
        ":body": row.body,
    });
    inserted.map_err(|error| taken(error, kind, &row.name))?;
    Ok(())
}

/// Replaces a record and its name.
pub(super) fn update(db: &Connection, row: &ResourceRow) -> Result<(), Failure> {
    let kind = row.kind.as_str();
    let mut statement = db.prepare_cached(
        "UPDATE resources SET name = :name, name_folded = :folded, body = :body
         WHERE kind = :kind AND id = :id AND namespace_id = :namespace",
    )?;
    let updated = statement.execute(named_params! {
        ":kind": kind,
        ":namespace": row.namespace.as_str(),
        ":id": row.id,
        ":name": row.name,
        ":folded": fold(&row.name),
        ":body": row.body,
    });
    changed(
        updated.map_err(|error| taken(error, kind, &row.name))?,
        kind,
        &row.id,
    )
}

/// A record by id or, failing that, by name: a name that looks like another record's id cannot hide it.
pub(super) fn find(
    db: &Connection,
    kind: ResourceKind,
    namespace: Option<&NamespaceId>,
    id_or_name: &str,
) -> Result<Option<Value>, Failure> {
    let by_id = "SELECT namespace_id, body FROM resources WHERE kind = ?1 AND id = ?2";
    let found = first(db, by_id, params![kind.as_str(), id_or_name], namespace)?;
    let found = match (found, namespace) {
        (Some(body), _) => Some(body),
        (None, None) if !is_global(kind) => {
            let by_name = "SELECT namespace_id, body FROM resources
                           WHERE kind = ?1 AND name = ?2 ORDER BY seq LIMIT 1";
            first(db, by_name, params![kind.as_str(), id_or_name], None)?
        }
        (None, _) => {
            let scope = namespace.map_or("", |namespace| scope(kind, namespace));
            let by_name = "SELECT namespace_id, body FROM resources
                           WHERE kind = ?1 AND name = ?2 AND scope = ?3";
            first(
                db,
                by_name,
                params![kind.as_str(), id_or_name, scope],
                namespace,
            )?
        }
    };
    let parsed = found
        .map(|body| decode(kind.as_str(), id_or_name, &body))
        .transpose()?;
    Ok(parsed)
}

/// The body of the first row, unless it is another tenant's.
fn first(
    db: &Connection,
    sql: &str,
    values: impl Params,
    namespace: Option<&NamespaceId>,
) -> Result<Option<String>, Failure> {
    let mut statement = db.prepare_cached(sql)?;
    let row: Option<(String, String)> = statement
        .query_row(values, |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let own = row.filter(|(owner, _)| namespace.is_none_or(|wanted| wanted.as_str() == owner));
    Ok(own.map(|(_, body)| body))
}

/// A page of records, newest first, and how many there are in all.
pub(super) fn list(
    db: &Connection,
    kind: ResourceKind,
    namespace: Option<&NamespaceId>,
    search: Option<&str>,
    page: Page,
) -> Result<(Vec<(i64, Value)>, u64), Failure> {
    let mut conditions = Conditions::default();
    conditions.and("kind = ?", kind.as_str().to_owned());
    conditions.and_if("namespace_id = ?", namespace);
    conditions.and_if("instr(name_folded, ?) > 0", search.map(fold));
    let total = conditions.count(db, "resources")?;
    let select = "SELECT seq, id, body FROM resources";
    let records = conditions.records(db, select, Order::Descending, page, kind.as_str())?;
    Ok((records, total))
}

/// Removes a record.
pub(super) fn delete(
    db: &Connection,
    kind: ResourceKind,
    namespace: &NamespaceId,
    id: &str,
) -> Result<(), Failure> {
    let mut statement = db.prepare_cached(
        "DELETE FROM resources WHERE kind = ?1 AND id = ?2 AND namespace_id = ?3",
    )?;
    let deleted = statement.execute(params![kind.as_str(), id, namespace.as_str()])?;
    changed(deleted, kind.as_str(), id)
}
