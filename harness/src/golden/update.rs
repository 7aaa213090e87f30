//! What may be written, by the variables that insta's users know: `INSTA_UPDATE`, `CI` and `INSTA_PENDING_DIR`.
//! Semantics: <https://docs.rs/insta/latest/insta/#updating-snapshots>.

use std::path::PathBuf;

use super::GoldenError;

/// What happens to an answer that differs from its golden, or has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// What is written.
    pub mode: Mode,
    /// Folder that takes pending files instead of the goldens' own (`INSTA_PENDING_DIR`).
    pub pending_dir: Option<PathBuf>,
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A pending file for a person to review.
    Pending,
    /// The golden itself where there was none; a pending file where there was one.
    AcceptUnseen,
    /// The golden itself, unreviewed: only where the user asked for just that.
    Accept,
    /// Nothing.
    Nothing,
}

impl Update {
    /// As the environment says.
    pub fn from_env() -> Result<Self, GoldenError> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// As the given variables say.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, GoldenError> {
        let mode = match variable("INSTA_UPDATE").as_deref() {
            None | Some("" | "auto") if in_ci(&variable) => Mode::Nothing,
            None | Some("" | "auto" | "new") => Mode::Pending,
            Some("always" | "force") => Mode::Accept,
            Some("unseen") => Mode::AcceptUnseen,
            Some("no") => Mode::Nothing,
            Some(other) => return Err(GoldenError::UpdateMode(other.to_owned())),
        };
        let pending_dir = variable("INSTA_PENDING_DIR")
            .filter(|dir| !dir.is_empty())
            .map(PathBuf::from);
        Ok(Self { mode, pending_dir })
    }
}

/// insta's own rule.
fn in_ci(variable: &impl Fn(&str) -> Option<String>) -> bool {
    match variable("CI").as_deref() {
        Some("false" | "0" | "") => false,
        Some(_) => true,
        None => variable("TF_BUILD").is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(variables: &[(&str, &str)]) -> Result<Mode, GoldenError> {
        Update::from_variables(|name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
        .map(|update| update.mode)
    }

    #[test]
    fn the_modes_are_instas() {
        assert_eq!(mode(&[]).unwrap(), Mode::Pending);
        assert_eq!(mode(&[("CI", "true")]).unwrap(), Mode::Nothing);
        assert_eq!(mode(&[("CI", "false")]).unwrap(), Mode::Pending);
        assert_eq!(mode(&[("TF_BUILD", "1")]).unwrap(), Mode::Nothing);
        assert_eq!(
            mode(&[("CI", "true"), ("INSTA_UPDATE", "new")]).unwrap(),
            Mode::Pending
        );
        assert_eq!(mode(&[("INSTA_UPDATE", "no")]).unwrap(), Mode::Nothing);
        assert_eq!(mode(&[("INSTA_UPDATE", "always")]).unwrap(), Mode::Accept);
        assert_eq!(mode(&[("INSTA_UPDATE", "force")]).unwrap(), Mode::Accept);
        assert_eq!(mode(&[("INSTA_UPDATE", "unseen")]).unwrap(), Mode::AcceptUnseen);
        let error = mode(&[("INSTA_UPDATE", "alwyas")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "INSTA_UPDATE=alwyas is not one of auto, always, new, unseen, no, force"
        );
    }
}
