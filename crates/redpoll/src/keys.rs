//! Keys of data files from the environment, for whoever has no place for a file of them.

use anyhow::Context;
use redpoll_store::Config;

/// The variable that holds keys, one on a line.
const VARIABLE: &str = "REDPOLL_ENCRYPTION_KEY";

/// Adds the keys of the environment to a configuration.
pub(crate) fn given(config: Config) -> anyhow::Result<Config> {
    match std::env::var(VARIABLE) {
        Ok(text) => config.encryption_keys(&text).context(VARIABLE),
        Err(std::env::VarError::NotPresent) => Ok(config),
        Err(error) => Err(error).context(VARIABLE),
    }
}
