//! `fettle-plugin.toml`: what a plugin is called, how it is started, what it takes and what it gives.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::parameters::{ParameterError, ParameterSchema};

/// Name of the manifest in the plugin's folder.
pub const MANIFEST_FILE: &str = "fettle-plugin.toml";
/// Longest name: name and version together form ids and vector prefixes, which stay readable.
const NAME_LENGTH_MAX: usize = 48;
/// Inputs, outputs and vectors at most, each: more is a mistake, and each is repeated in every answer that lists plugins.
const LIST_LENGTH_MAX: usize = 64;
/// Longest vector, in numbers; what common models make is far below.
const DIMENSIONS_MAX: u32 = 8192;
/// Rows that a plugin may ask to be given at once.
const BATCH_ROWS_MAX: u32 = 256;
/// Requirements at most.
const REQUIREMENTS_MAX: usize = 128;

/// How a plugin runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PluginKind {
    /// A Python function over a list of rows.
    Python,
    /// Any program: one JSON row a line in, one line out.
    Exec,
}

/// What starts a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Entry {
    /// `module:function`, or a program without arguments.
    One(String),
    /// A program and its arguments.
    Command(Vec<String>),
}

/// An input of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginInput {
    /// The key in `input_mappings`.
    pub key: String,
    /// Whether a row without it fails.
    #[serde(default = "yes")]
    pub required: bool,
    /// Types of the contract that may be mapped to it; empty means any.
    #[serde(default)]
    pub types: Vec<String>,
    /// What it is.
    #[serde(default)]
    pub description: String,
}

/// A payload field of the documents that a plugin makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginOutput {
    /// Its name.
    pub name: String,
    /// Its type in JSON Schema.
    #[serde(rename = "type", default = "any_type")]
    pub json_type: String,
    /// What it is.
    #[serde(default)]
    pub description: String,
}

/// A vector that a plugin makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginVector {
    /// Its name in the index and in searches.
    pub name: String,
    /// Its length.
    pub dimensions: u32,
    /// What it stands for.
    #[serde(default)]
    pub description: String,
}

/// The manifest of a plugin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginManifest {
    /// Extractor name without version, such as `word_count`.
    pub name: String,
    /// Version, such as `v1`.
    pub version: String,
    /// How it runs.
    pub kind: PluginKind,
    /// What starts it.
    pub entry: Entry,
    /// What it does.
    #[serde(default)]
    pub description: String,
    /// Its inputs; none means that it takes all fields and blobs of the source.
    #[serde(default)]
    pub inputs: Vec<PluginInput>,
    /// Its fields.
    #[serde(default)]
    pub outputs: Vec<PluginOutput>,
    /// Its vectors.
    #[serde(default)]
    pub vectors: Vec<PluginVector>,
    /// The schema of its parameters.
    #[serde(default)]
    pub parameters: ParameterSchema,
    /// Python packages, as in `requirements.txt`.
    #[serde(default)]
    pub requirements: Vec<String>,
    /// Rows given at once at most.
    #[serde(default = "default_batch_rows")]
    pub batch_rows: u32,
}

/// Why a manifest is refused.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// Not TOML, or with unknown or missing keys.
    #[error("{MANIFEST_FILE}: {message}")]
    Syntax {
        /// Where and what, as the parser says.
        message: String,
    },
    /// A value that cannot be.
    #[error("{MANIFEST_FILE}: `{key}` {problem}")]
    Value {
        /// The key.
        key: String,
        /// What is wrong and what would do.
        problem: String,
    },
    /// The parameters' schema is not in the subset that is understood.
    #[error("{MANIFEST_FILE}: parameters: {0}")]
    Parameters(#[from] ParameterError),
}

fn yes() -> bool {
    true
}

fn any_type() -> String {
    "any".to_owned()
}

fn default_batch_rows() -> u32 {
    16
}

impl PluginManifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// When it is not a manifest, or a value in it cannot be.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let parsed: Result<Self, _> = toml::from_str(text);
        let manifest = parsed.map_err(|error| ManifestError::Syntax {
            message: error.to_string().trim_end().to_owned(),
        })?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The extractor's id: `word_count_v1`.
    #[must_use]
    pub fn extractor_id(&self) -> String {
        format!("{}_{}", self.name, self.version)
    }

    /// The program and its arguments, of an `exec` plugin.
    #[must_use]
    pub fn command(&self) -> Vec<String> {
        match &self.entry {
            Entry::One(program) => vec![program.clone()],
            Entry::Command(command) => command.clone(),
        }
    }

    /// Module and function, of a `python` plugin.
    #[must_use]
    pub fn function(&self) -> Option<(&str, &str)> {
        match &self.entry {
            Entry::One(entry) => entry.split_once(':'),
            Entry::Command(_) => None,
        }
    }

    fn check(&self) -> Result<(), ManifestError> {
        check_name("name", &self.name)?;
        check_version(&self.version)?;
        self.check_entry()?;
        check_list("inputs", self.inputs.iter().map(|input| input.key.as_str()))?;
        check_list(
            "outputs",
            self.outputs.iter().map(|output| output.name.as_str()),
        )?;
        check_list(
            "vectors",
            self.vectors.iter().map(|vector| vector.name.as_str()),
        )?;
        self.check_outputs()?;
        if self.batch_rows == 0 || self.batch_rows > BATCH_ROWS_MAX {
            return Err(bad(
                "batch_rows",
                format!("must be from 1 to {BATCH_ROWS_MAX}"),
            ));
        }
        self.check_requirements()?;
        self.parameters.check()?;
        Ok(())
    }

    fn check_entry(&self) -> Result<(), ManifestError> {
        match self.kind {
            PluginKind::Python => {
                let function = self
                    .function()
                    .filter(|(module, function)| is_dotted(module) && is_identifier(function));
                function
                    .map(|_| ())
                    .ok_or_else(|| bad("entry", "of a python plugin must be `module:function`"))
            }
            PluginKind::Exec => {
                let command = self.command();
                let is_usable = command
                    .first()
                    .is_some_and(|program| !program.trim().is_empty());
                let has_nul = command.iter().any(|word| word.contains('\0'));
                if is_usable && !has_nul {
                    Ok(())
                } else {
                    Err(bad(
                        "entry",
                        "of an exec plugin must name a program, such as [\"./tool\", \"--flag\"]",
                    ))
                }
            }
        }
    }

    fn check_outputs(&self) -> Result<(), ManifestError> {
        if let Some(output) = self
            .outputs
            .iter()
            .find(|output| output.name.starts_with('_') || output.name == "vectors")
        {
            return Err(bad(
                "outputs",
                format!("has the name `{}`, which is reserved", output.name),
            ));
        }
        match self
            .vectors
            .iter()
            .find(|vector| vector.dimensions == 0 || vector.dimensions > DIMENSIONS_MAX)
        {
            Some(vector) => Err(bad(
                "vectors",
                format!(
                    "`{}` must have from 1 to {DIMENSIONS_MAX} dimensions",
                    vector.name
                ),
            )),
            None => Ok(()),
        }
    }

    fn check_requirements(&self) -> Result<(), ManifestError> {
        if self.kind == PluginKind::Exec && !self.requirements.is_empty() {
            return Err(bad(
                "requirements",
                "are for python plugins; an exec plugin brings what it needs",
            ));
        }
        if self.requirements.len() > REQUIREMENTS_MAX {
            return Err(bad(
                "requirements",
                format!("has more than {REQUIREMENTS_MAX} entries"),
            ));
        }
        match self
            .requirements
            .iter()
            .find(|requirement| !is_requirement(requirement))
        {
            Some(requirement) => Err(bad(
                "requirements",
                format!(
                    "`{requirement}` must be a package name with versions, such as `numpy>=2,<3`; options, paths and addresses are not allowed"
                ),
            )),
            None => Ok(()),
        }
    }
}

fn bad(key: &str, problem: impl Into<String>) -> ManifestError {
    ManifestError::Value {
        key: key.to_owned(),
        problem: problem.into(),
    }
}

fn is_name(text: &str) -> bool {
    text.len() <= NAME_LENGTH_MAX
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn check_name(key: &str, text: &str) -> Result<(), ManifestError> {
    if is_name(text) {
        return Ok(());
    }
    Err(bad(
        key,
        format!(
            "is `{text}`, but must begin with a letter and have only a-z, 0-9 and _, {NAME_LENGTH_MAX} at most"
        ),
    ))
}

fn check_version(text: &str) -> Result<(), ManifestError> {
    let digits = text.strip_prefix('v').unwrap_or("");
    if (1..=6).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(());
    }
    Err(bad(
        "version",
        format!("is `{text}`, but must be v and a number, such as v1"),
    ))
}

fn check_list<'n>(key: &str, names: impl Iterator<Item = &'n str>) -> Result<(), ManifestError> {
    let mut seen = BTreeSet::new();
    for name in names {
        let is_fine = !name.is_empty()
            && name.len() <= 100
            && !name.contains(['.', '/', '\0'])
            && !name.contains(char::is_whitespace);
        if !is_fine {
            return Err(bad(
                key,
                format!(
                    "has the name `{name}`; names must not be empty or have dots, slashes or blanks"
                ),
            ));
        }
        if !seen.insert(name) {
            return Err(bad(key, format!("has `{name}` twice")));
        }
    }
    if seen.len() > LIST_LENGTH_MAX {
        return Err(bad(key, format!("has more than {LIST_LENGTH_MAX} entries")));
    }
    Ok(())
}

fn is_identifier(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_dotted(text: &str) -> bool {
    text.split('.').all(is_identifier)
}

/// `name[extra] >= 1, < 2`, with an optional marker: what PEP 508 allows without addresses. It must not be taken for an option.
fn is_requirement(text: &str) -> bool {
    text.len() <= 200
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || " ._-[],<>=!~*+;'\"()".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORD_COUNT: &str = r#"
name = "word_count"
version = "v1"
kind = "python"
entry = "word_count:run"
requirements = ["numpy>=2,<3"]

[[inputs]]
key = "text"
types = ["text", "string"]

[[outputs]]
name = "words"
type = "integer"

[[vectors]]
name = "word_count_v1_hash"
dimensions = 8

[parameters.properties.min_length]
type = "integer"
minimum = 1
default = 1
"#;

    #[test]
    fn a_whole_manifest_is_read_and_survives_json() {
        let manifest = PluginManifest::parse(WORD_COUNT).unwrap();
        assert_eq!(manifest.extractor_id(), "word_count_v1");
        assert_eq!(manifest.function(), Some(("word_count", "run")));
        assert_eq!(manifest.batch_rows, 16);
        assert!(manifest.inputs[0].required);
        let json = serde_json::to_value(&manifest).unwrap();
        assert_eq!(json["vectors"][0]["dimensions"], 8);
        assert_eq!(
            serde_json::from_value::<PluginManifest>(json).unwrap(),
            manifest
        );
    }

    #[test]
    fn an_exec_plugin_names_a_program_with_or_without_arguments() {
        let text = "name = \"t\"\nversion = \"v2\"\nkind = \"exec\"\nentry = ";
        let one = PluginManifest::parse(&format!("{text}\"./tool\"")).unwrap();
        assert_eq!(one.command(), ["./tool"]);
        let many = PluginManifest::parse(&format!("{text}[\"python3\", \"t.py\"]")).unwrap();
        assert_eq!(many.command(), ["python3", "t.py"]);
        assert!(PluginManifest::parse(&format!("{text}[]")).is_err());
    }

    fn refusal(from: &str, to: &str) -> String {
        let changed = WORD_COUNT.replacen(from, to, 1);
        assert_ne!(changed, WORD_COUNT);
        PluginManifest::parse(&changed).unwrap_err().to_string()
    }

    #[test]
    fn bad_manifests_say_which_key_and_what_would_do() {
        let cases = [
            ("name = \"word_count\"", "name = \"Word Count\"", "`name`"),
            ("\"v1\"", "\"1.0\"", "such as v1"),
            ("\"word_count:run\"", "\"run.py\"", "module:function"),
            ("numpy>=2,<3", "--index-url=http://x", "`requirements`"),
            ("numpy>=2,<3", "x @ http://evil", "`requirements`"),
            ("dimensions = 8", "dimensions = 0", "dimensions"),
            ("name = \"words\"", "name = \"_internal\"", "reserved"),
            ("kind = \"python\"", "kind = \"wasm\"", "wasm"),
            ("[[inputs]]", "colour = 1\n[[inputs]]", "colour"),
            (
                "type = \"integer\"\nminimum",
                "type = \"money\"\nminimum",
                "money",
            ),
        ];
        for (from, to, part) in cases {
            let message = refusal(from, to);
            assert!(message.contains(part), "{message}");
        }
    }
}
