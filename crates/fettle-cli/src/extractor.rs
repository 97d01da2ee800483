//! Extractors as the command line names them: `text`, `text_extractor`, `text_extractor_v1`, `my_plugin_v2`.

/// An extractor's name and version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExtractorName {
    pub(crate) name: String,
    pub(crate) version: String,
}

/// The built-in ones, which may be named by their first word.
const BUILT_IN: [&str; 5] = ["universal", "document", "text", "image", "passthrough"];

impl ExtractorName {
    /// Reads a name; without a version it is `v1`.
    pub(crate) fn parse(given: &str) -> Self {
        if BUILT_IN.contains(&given) {
            return Self {
                name: format!("{given}_extractor"),
                version: "v1".to_owned(),
            };
        }
        let is_version = |text: &str| {
            text.strip_prefix('v').is_some_and(|digits| {
                digits.starts_with(|c: char| c.is_ascii_digit())
                    && digits
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || c == '.')
            })
        };
        match given.rsplit_once('_') {
            Some((name, version)) if !name.is_empty() && is_version(version) => Self {
                name: name.to_owned(),
                version: version.to_owned(),
            },
            _ => Self {
                name: given.to_owned(),
                version: "v1".to_owned(),
            },
        }
    }

    /// The id in the API.
    pub(crate) fn id(&self) -> String {
        format!("{}_{}", self.name, self.version)
    }

    /// Whether its documents hold text that can be cut and embedded.
    pub(crate) fn finds_text(&self) -> bool {
        matches!(
            self.name.as_str(),
            "universal_extractor" | "document_extractor"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_with_and_without_a_version() {
        for (given, id) in [
            ("text", "text_extractor_v1"),
            ("universal_extractor", "universal_extractor_v1"),
            ("text_extractor_v1", "text_extractor_v1"),
            ("word_count_v2", "word_count_v2"),
            ("word_count", "word_count_v1"),
            ("a_v1.2", "a_v1.2"),
        ] {
            assert_eq!(ExtractorName::parse(given).id(), id, "{given}");
        }
    }
}
