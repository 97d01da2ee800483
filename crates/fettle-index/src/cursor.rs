//! Cursors: where a page ended, as text that only the list that made it accepts.

use fettle_model::CollectionId;
use qdrant_edge::external::uuid::Uuid;

use crate::fault::Fault;

/// Characters of a cursor: 32 of the id and 8 of the mark.
const LENGTH: usize = 40;

/// The cursor of a page of `collection` that ended with the document at `last`.
pub(crate) fn encode(collection: &CollectionId, last: Uuid) -> String {
    let id = last.simple().to_string();
    format!("{id}{}", mark(collection, &id))
}

/// The document that a page ended with.
pub(crate) fn decode(collection: &CollectionId, cursor: &str) -> Result<Uuid, Fault> {
    if cursor.len() != LENGTH || !cursor.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(Fault::BadCursor);
    }
    let (id, given) = cursor.split_at(32);
    if mark(collection, id) != given {
        return Err(Fault::BadCursor);
    }
    Uuid::try_parse(id).map_err(|_| Fault::BadCursor)
}

/// Ties a cursor to its collection, so a mix-up is an error and not a wrong page. It is no secret.
fn mark(collection: &CollectionId, id: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"documents of ");
    hasher.update(collection.as_str().as_bytes());
    hasher.update(b" after ");
    hasher.update(id.as_bytes());
    hasher.finalize().to_hex()[..8].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_accepted_by_the_collection_that_made_it_only() {
        let (here, there) = ("col_a".parse().unwrap(), "col_b".parse().unwrap());
        let id = Uuid::from_u128(7);
        let cursor = encode(&here, id);
        assert_eq!(decode(&here, &cursor), Ok(id));
        assert_eq!(decode(&there, &cursor), Err(Fault::BadCursor));
        for bad in [
            "",
            "zz",
            &cursor[1..],
            &format!("{cursor}0"),
            &"é".repeat(20),
        ] {
            assert_eq!(decode(&here, bad), Err(Fault::BadCursor), "{bad}");
        }
    }
}
