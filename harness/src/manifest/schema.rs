//! JSON schemas of the files that users write, generated from the types of this module.
//!
//! One schema serves three readers: editors (the committed files), the check of a file's shape, and the wording of
//! its errors (descriptions become help). It is stricter than the types in one thing: what may be left out may not be
//! written as `null`, since `max:` without a value is a line that somebody forgot to finish.

use std::{io, path::Path, sync::LazyLock};

use jsonschema::Validator;
use schemars::{Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::Value;

use super::{Card, CaseFile, Manifest, Stack};

/// Kinds of files that users write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A model manifest.
    Manifest,
    /// A file of cases.
    Cases,
    /// A stack.
    Stack,
    /// A card.
    Card,
}

/// A schema and its compiled form.
pub(super) struct Compiled {
    /// The schema, to look up descriptions and allowed keys.
    pub(super) schema: Value,
    /// The check.
    pub(super) validator: Validator,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Manifest, Self::Cases, Self::Stack, Self::Card];

    /// What the kind is called in messages.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Manifest => "model manifest",
            Self::Cases => "case file",
            Self::Stack => "stack",
            Self::Card => "card",
        }
    }

    /// Folder of the kind's files, relative to the repository.
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Manifest => "models.d",
            Self::Cases => "models.d/cases",
            Self::Stack => "ci/stacks",
            Self::Card => "ci/cards",
        }
    }

    /// The committed schema, relative to the repository.
    pub const fn schema_file(self) -> &'static str {
        match self {
            Self::Manifest => "models.d/schema.json",
            Self::Cases => "models.d/cases.schema.json",
            Self::Stack => "ci/stacks.schema.json",
            Self::Card => "ci/cards.schema.json",
        }
    }

    /// The schema, compiled once a process. `Err` says what is wrong with the schema itself.
    pub(super) fn compiled(self) -> Result<&'static Compiled, &'static str> {
        static MANIFEST: LazyLock<Result<Compiled, String>> = LazyLock::new(|| compile(Kind::Manifest));
        static CASES: LazyLock<Result<Compiled, String>> = LazyLock::new(|| compile(Kind::Cases));
        static STACK: LazyLock<Result<Compiled, String>> = LazyLock::new(|| compile(Kind::Stack));
        static CARD: LazyLock<Result<Compiled, String>> = LazyLock::new(|| compile(Kind::Card));
        let compiled = match self {
            Self::Manifest => &*MANIFEST,
            Self::Cases => &*CASES,
            Self::Stack => &*STACK,
            Self::Card => &*CARD,
        };
        compiled.as_ref().map_err(String::as_str)
    }
}

fn compile(kind: Kind) -> Result<Compiled, String> {
    let schema = schema(kind).to_value();
    let validator = jsonschema::validator_for(&schema).map_err(|error| error.to_string())?;
    Ok(Compiled { schema, validator })
}

fn schema(kind: Kind) -> Schema {
    let generator: SchemaGenerator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = match kind {
        Kind::Manifest => generator.into_root_schema_for::<Manifest>(),
        Kind::Cases => generator.into_root_schema_for::<CaseFile>(),
        Kind::Stack => generator.into_root_schema_for::<Stack>(),
        Kind::Card => generator.into_root_schema_for::<Card>(),
    };
    if let Some(object) = schema.as_object_mut() {
        object.values_mut().for_each(tighten);
    }
    schema
}

/// Takes `null` out of every schema below (`type: [T, null]`, `anyOf: [T, null]`, `default: null`) and bounds 32-bit
/// figures, which `format` alone only annotates.
fn tighten(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(tighten),
        Value::Object(object) => {
            if object.get("default") == Some(&Value::Null) {
                object.remove("default");
            }
            if object.get("format") == Some(&Value::from("uint32")) {
                object.entry("maximum").or_insert(Value::from(u32::MAX));
            }
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(branches)) = object.get_mut("anyOf") {
                branches.retain(|branch| branch.get("type") != Some(&Value::from("null")));
                if let [Value::Object(only)] = branches.as_slice() {
                    let only = only.clone();
                    object.remove("anyOf");
                    object.extend(only);
                }
            }
            object.values_mut().for_each(tighten);
        }
        _ => {}
    }
}

/// The schema of `kind` as it is committed: indented JSON, keys sorted, with a line end.
pub fn generate(kind: Kind) -> String {
    let mut value = schema(kind).to_value();
    value.sort_all_objects();
    format!("{value:#}\n")
}

/// Writes every schema file below `root`, the repository.
pub fn write_schemas(root: &Path) -> io::Result<()> {
    for kind in Kind::ALL {
        std::fs::write(root.join(kind.schema_file()), generate(kind))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Run with `HARNESS_WRITE_SCHEMA=1` to write the files anew.
    #[test]
    fn committed_schemas_are_those_of_the_types() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        if std::env::var_os("HARNESS_WRITE_SCHEMA").is_some() {
            write_schemas(&root).unwrap();
        }
        for kind in Kind::ALL {
            let committed = std::fs::read_to_string(root.join(kind.schema_file())).unwrap_or_default();
            assert!(
                committed == generate(kind),
                "{} is stale: run `HARNESS_WRITE_SCHEMA=1 cargo test -p harness --lib committed_schemas`",
                kind.schema_file()
            );
        }
    }

    #[test]
    fn nothing_may_be_null() {
        for kind in Kind::ALL {
            assert!(!generate(kind).contains("null"), "{kind:?}");
            kind.compiled().map(|_| ()).unwrap();
        }
    }
}
