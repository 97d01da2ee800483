//! Rule: rooms depend on each other only along the edges of ARCHITECTURE.md.

use super::source::TextFile;

/// Room → rooms that it may depend on. Development dependencies are free.
const EDGES: &[(&str, &[&str])] = &[
    ("fettle-model", &[]),
    ("fettle-outbound", &[]),
    ("fettle-wire", &["fettle-model"]),
    ("fettle-core", &["fettle-model"]),
    ("fettle-diagnose", &["fettle-model"]),
    ("fettle-manifest", &["fettle-model"]),
    ("fettle-confine", &["fettle-model"]),
    ("fettle-plugin", &["fettle-model", "fettle-confine"]),
    ("fettle-client", &["fettle-model", "fettle-wire"]),
    ("fettle-ports", &["fettle-model", "fettle-core"]),
    (
        "fettle-sim",
        &["fettle-model", "fettle-core", "fettle-diagnose"],
    ),
    (
        "fettle-store",
        &["fettle-model", "fettle-core", "fettle-ports"],
    ),
    ("fettle-index", &["fettle-model", "fettle-ports"]),
    (
        "fettle-exec",
        &["fettle-model", "fettle-ports", "fettle-confine"],
    ),
    (
        "fettle-webhook",
        &[
            "fettle-model",
            "fettle-core",
            "fettle-ports",
            "fettle-outbound",
        ],
    ),
    (
        "fettle-control",
        &[
            "fettle-model",
            "fettle-core",
            "fettle-diagnose",
            "fettle-ports",
            "fettle-manifest",
        ],
    ),
    (
        "fettle-api",
        &[
            "fettle-model",
            "fettle-core",
            "fettle-wire",
            "fettle-control",
            "fettle-diagnose",
            "fettle-ports",
            "fettle-plugin",
            "fettle-webhook",
        ],
    ),
    (
        "fettle-worker",
        &[
            "fettle-model",
            "fettle-wire",
            "fettle-client",
            "fettle-manifest",
            "fettle-confine",
            "fettle-plugin",
            "fettle-outbound",
        ],
    ),
    (
        "fettle-cli",
        &["fettle-model", "fettle-wire", "fettle-client"],
    ),
];

/// The room that wires the others together, and so may depend on all.
const BINARY: &str = "fettle";

/// Crates that a pure room must not have, because they bring IO, a clock or chance.
const IMPURE: &[&str] = &[
    "tokio",
    "rusqlite",
    "rand",
    "getrandom",
    "reqwest",
    "axum",
    "object_store",
    "rustix",
    "jiff",
    "tracing",
];

/// Rooms that must stay pure.
const PURE: &[&str] = &["fettle-core", "fettle-diagnose", "fettle-model"];

/// Findings for edges that are not in the table.
pub(crate) fn check(manifests: &[TextFile]) -> Vec<String> {
    manifests.iter().flat_map(check_one).collect()
}

fn check_one(manifest: &TextFile) -> Vec<String> {
    let room = manifest.path.split('/').nth(1).unwrap_or_default();
    let Ok(table) = manifest.text.parse::<toml::Table>() else {
        return vec![format!("{}:1: does not parse", manifest.path)];
    };
    let dependencies = dependencies(&table);
    let mut findings = Vec::new();
    if room != BINARY {
        let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == room) else {
            return vec![format!(
                "{}:1: the room `{room}` is not known; add it to xtask/src/tidy/rooms.rs, ARCHITECTURE.md and an ADR",
                manifest.path
            )];
        };
        let edges = dependencies
            .iter()
            .filter(|name| name.starts_with("fettle"));
        let wrong = edges.filter(|name| !allowed.contains(&name.as_str()));
        findings.extend(
            wrong.map(|name| format!("{}:1: `{room}` must not depend on `{name}`", manifest.path)),
        );
    }
    if PURE.contains(&room) {
        let wrong = dependencies
            .iter()
            .filter(|name| IMPURE.contains(&name.as_str()));
        findings.extend(wrong.map(|name| {
            format!(
                "{}:1: `{room}` is pure and must not depend on `{name}`",
                manifest.path
            )
        }));
    }
    findings
}

/// Names of the dependencies and build dependencies, for every target.
fn dependencies(manifest: &toml::Table) -> Vec<String> {
    let mut names = Vec::new();
    let mut tables = vec![manifest];
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    tables.extend(
        targets
            .into_iter()
            .flat_map(|t| t.values().filter_map(toml::Value::as_table)),
    );
    for table in tables {
        for key in ["dependencies", "build-dependencies"] {
            let section = table.get(key).and_then(toml::Value::as_table);
            names.extend(
                section
                    .into_iter()
                    .flat_map(|section| section.keys().cloned()),
            );
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(room: &str, text: &str) -> usize {
        let path = format!("crates/{room}/Cargo.toml");
        check(&[TextFile {
            path,
            text: text.to_owned(),
        }])
        .len()
    }

    #[test]
    fn an_edge_of_the_table_is_allowed_and_another_is_a_finding() {
        assert_eq!(
            count(
                "fettle-cli",
                "[dependencies]\nfettle-client.workspace = true\n"
            ),
            0
        );
        assert_eq!(
            count(
                "fettle-cli",
                "[dependencies]\nfettle-control.workspace = true\n"
            ),
            1
        );
        assert_eq!(
            count(
                "fettle-worker",
                "[target.'cfg(unix)'.dependencies]\nfettle-api = \"1\"\n"
            ),
            1
        );
    }

    #[test]
    fn development_dependencies_are_free_and_the_binary_may_have_all() {
        assert_eq!(
            count(
                "fettle-cli",
                "[dev-dependencies]\nfettle-api.workspace = true\n"
            ),
            0
        );
        assert_eq!(
            count("fettle", "[dependencies]\nfettle-api.workspace = true\n"),
            0
        );
    }

    #[test]
    fn an_unknown_room_is_a_finding() {
        assert_eq!(count("fettle-attic", "[dependencies]\n"), 1);
    }

    #[test]
    fn a_pure_room_has_no_runtime_and_others_may() {
        assert_eq!(
            count("fettle-core", "[dependencies]\ntokio.workspace = true\n"),
            1
        );
        assert_eq!(
            count("fettle-control", "[dependencies]\ntokio.workspace = true\n"),
            0
        );
    }

    #[test]
    fn the_table_has_no_circle() {
        for (index, (room, allowed)) in EDGES.iter().enumerate() {
            for edge in *allowed {
                let place = EDGES.iter().position(|(name, _)| name == edge);
                assert!(place.is_some_and(|place| place < index), "{room} → {edge}");
            }
        }
    }
}
