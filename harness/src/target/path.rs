//! Paths as manifests write them: `~`, `${NAME}` and `${NAME:-default}` are expanded. `HARNESS_CACHE` has a default: the folder in which
//! `ci/images/build` keeps what it makes.

use std::{env, path::PathBuf};

/// Why a path cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A variable is not set.
    #[error(
        "the path `{path}` uses ${{{name}}}, which is not set: set it, or write the folder into the manifest"
    )]
    Unset {
        /// The path as written.
        path: String,
        /// The variable.
        name: String,
    },
    /// `${` without `}`.
    #[error("the path `{0}` has a `${{` without `}}`")]
    Open(String),
}

/// Expands `~`, `${NAME}` and `${NAME:-default}`.
pub fn expand(path: &str) -> Result<PathBuf, PathError> {
    expand_with(path, |name| env::var(name).ok())
}

fn expand_with(path: &str, variable: impl Fn(&str) -> Option<String>) -> Result<PathBuf, PathError> {
    let home = || variable("HOME").ok_or_else(|| unset(path, "HOME"));
    let mut expanded = String::new();
    let mut rest = path;
    if let Some(below) = path.strip_prefix("~/") {
        expanded = home()? + "/";
        rest = below;
    }
    while let Some((before, behind)) = rest.split_once("${") {
        let (inside, after) = behind
            .split_once('}')
            .ok_or_else(|| PathError::Open(path.to_owned()))?;
        let (name, default) = inside
            .split_once(":-")
            .map_or((inside, None), |(name, default)| (name, Some(default)));
        expanded += before;
        expanded += &match (variable(name).filter(|value| !value.is_empty()), default) {
            (Some(value), _) => value,
            (None, Some(default)) => default.to_owned(),
            (None, None) if name == "HARNESS_CACHE" => home()? + "/.cache/model-harness",
            (None, None) => return Err(unset(path, name)),
        };
        rest = after;
    }
    Ok(PathBuf::from(expanded + rest))
}

fn unset(path: &str, name: &str) -> PathError {
    PathError::Unset {
        path: path.to_owned(),
        name: name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(path: &str) -> Result<PathBuf, PathError> {
        expand_with(path, |name| match name {
            "HOME" => Some("/home/e".into()),
            "MODELS" => Some("/data".into()),
            _ => None,
        })
    }

    #[test]
    fn expands_what_shells_do() {
        assert_eq!(expanded("~/m").unwrap(), PathBuf::from("/home/e/m"));
        assert_eq!(
            expanded("${MODELS}/a${MODELS}").unwrap(),
            PathBuf::from("/data/a/data")
        );
        assert_eq!(
            expanded("${HARNESS_CACHE}/models/x").unwrap(),
            PathBuf::from("/home/e/.cache/model-harness/models/x")
        );
        assert_eq!(
            expanded("${NOPE:-/models}/m").unwrap(),
            PathBuf::from("/models/m")
        );
        assert_eq!(
            expanded("${MODELS:-/models}/m").unwrap(),
            PathBuf::from("/data/m")
        );
        assert_eq!(expanded("/plain/$x").unwrap(), PathBuf::from("/plain/$x"));
    }

    #[test]
    fn says_what_is_missing() {
        assert_eq!(expanded("${NOPE}/m"), Err(unset("${NOPE}/m", "NOPE")));
        assert_eq!(
            expanded("/a/${MODELS"),
            Err(PathError::Open("/a/${MODELS".into()))
        );
    }
}
