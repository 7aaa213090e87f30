//! Variables that became arguments. A version that no longer reads a variable ignores it without a word, so the server
//! would silently run with another backend than the manifest names: the variable is turned into its argument, or
//! refused where no single argument says the same.

use std::collections::BTreeMap;

use semver::Version;

use super::{ArgError, arguments::Translation};

/// A variable that not every version reads.
struct Row {
    name: &'static str,
    /// First minor release (0.x) that does not read it.
    gone: u64,
    /// The flag that takes its value, or what to write.
    instead: Result<&'static str, &'static str>,
}

const ROWS: [Row; 2] = [
    Row {
        name: "VLLM_ATTENTION_BACKEND",
        gone: 15,
        instead: Ok("--attention-backend"),
    },
    Row {
        name: "VLLM_FLASH_ATTN_VERSION",
        gone: 15,
        instead: Err("write flash_attn_version into --attention-config"),
    },
];

/// Takes the variables out of `env` that `version` no longer reads, and returns the arguments that say the same.
pub fn translate_env(env: &mut BTreeMap<String, String>, version: &Version) -> Result<Translation, ArgError> {
    let mut out = Translation::default();
    for row in ROWS {
        if (version.major, version.minor) < (0, row.gone) {
            continue;
        }
        let Some(value) = env.remove(row.name) else {
            continue;
        };
        match row.instead {
            Ok(flag) => {
                out.changes
                    .push(format!("wrote {flag} {value} for {}={value}", row.name));
                out.args.extend([flag.to_owned(), value]);
            }
            Err(advice) => {
                return Err(ArgError::Removed {
                    flag: row.name.to_owned(),
                    version: version.clone(),
                    advice: advice.to_owned(),
                });
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> BTreeMap<String, String> {
        BTreeMap::from([
            (name.to_owned(), "3".to_owned()),
            ("NO_COLOR".to_owned(), "1".to_owned()),
        ])
    }

    #[test]
    fn a_variable_becomes_its_argument_where_it_is_no_longer_read() {
        let before = env("VLLM_ATTENTION_BACKEND");
        let mut kept = before.clone();
        let told = translate_env(&mut kept, &Version::new(0, 14, 1)).unwrap();
        assert_eq!((kept, told), (before.clone(), Translation::default()));
        let mut moved = before;
        let told = translate_env(&mut moved, &Version::new(0, 15, 0)).unwrap();
        assert_eq!(told.args, ["--attention-backend", "3"]);
        assert_eq!(
            told.changes,
            ["wrote --attention-backend 3 for VLLM_ATTENTION_BACKEND=3"]
        );
        assert_eq!(moved.into_keys().collect::<Vec<_>>(), ["NO_COLOR"]);
    }

    #[test]
    fn a_variable_without_an_equal_is_refused() {
        let error = translate_env(&mut env("VLLM_FLASH_ATTN_VERSION"), &Version::new(0, 17, 0)).unwrap_err();
        assert_eq!(error.name(), Some("VLLM_FLASH_ATTN_VERSION"));
        assert_eq!(
            error.to_string(),
            "vLLM 0.17.0 no longer takes `VLLM_FLASH_ATTN_VERSION`: write flash_attn_version into --attention-config"
        );
    }
}
