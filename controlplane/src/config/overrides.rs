//! Single keys set from the command line or the environment.

use serde_json::Value;

use super::keys::{KEYS, Support};
use super::{Config, ConfigError};

/// One key with the text it was set to, and who set it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Override {
    /// As `rtc.udp_port`.
    pub path: String,
    pub text: String,
    /// The flag or the variable, for messages.
    pub origin: String,
}

/// Lists: the keys of their items cannot be set alone.
const LISTS: [&str; 3] = [
    "node_selector.regions.",
    "room.enabled_codecs.",
    "rtc.turn_servers.",
];

/// An older spelling whose variable would be that of the newer one.
const SHADOWED: &str = "prometheus_port";

/// Every key that may be set alone, as LiveKit has it: by a flag `--section.key` or a variable
/// `LIVEKIT_SECTION_KEY`.
pub fn settable_keys() -> impl Iterator<Item = &'static str> {
    KEYS.iter()
        .filter(|(path, support)| {
            *support != Support::Open
                && !path.ends_with(".*")
                && *path != SHADOWED
                && !LISTS.iter().any(|list| path.starts_with(list))
        })
        .map(|(path, _)| *path)
}

/// The variable that sets `path`.
pub fn variable_of(path: &str) -> String {
    format!("LIVEKIT_{}", path.replace('.', "_").to_uppercase())
}

/// Sets each override in `config`, in order.
pub(super) fn apply(mut config: Config, overrides: &[Override]) -> Result<Config, ConfigError> {
    for each in overrides {
        let refused = |reason: String| ConfigError::Override {
            origin: each.origin.clone(),
            path: each.path.clone(),
            reason,
        };
        let mut tree = serde_json::to_value(&config).map_err(|error| refused(error.to_string()))?;
        set(&mut tree, &each.path, &each.text).map_err(refused)?;
        config = serde_json::from_value(tree).map_err(|error| refused(error.to_string()))?;
    }
    Ok(config)
}

fn set(tree: &mut Value, path: &str, text: &str) -> Result<(), String> {
    let mut slot = tree;
    for name in path.split('.') {
        let Value::Object(members) = slot else {
            // Inside of something we do not serve.
            return Ok(());
        };
        slot = members.entry(name).or_insert(Value::Null);
    }
    *slot = match slot {
        Value::String(_) => Value::String(text.to_owned()),
        Value::Bool(_) => match text {
            "1" | "true" => Value::Bool(true),
            "0" | "false" => Value::Bool(false),
            _ => return Err(format!("`{text}` is neither true nor false")),
        },
        Value::Number(_) => text
            .parse()
            .map(Value::Number)
            .map_err(|_| format!("`{text}` is no number"))?,
        Value::Null | Value::Array(_) | Value::Object(_) => {
            serde_saphyr::from_str(text).map_err(|_| format!("`{text}` is no valid value"))?
        }
    };
    Ok(())
}
