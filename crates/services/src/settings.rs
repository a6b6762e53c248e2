//! What an operator can choose, with the defaults of the documentation.
//!
//! Built in code, or from the environment under the names that existing deployments use.

use crate::backend::config::first;
use crate::error::Result;
use crate::keys::Keyring;

/// Settings of all services.
#[derive(Debug, Clone)]
pub struct Settings {
    /// First part of every key. Default `rp`.
    pub keyring: Keyring,
}

impl Default for Settings {
    fn default() -> Self {
        Self { keyring: Keyring::new("rp").expect("the default prefix is valid") }
    }
}

impl Settings {
    /// Reads `REDIS_KEY_PREFIX`.
    pub fn from_environment(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let mut settings = Self::default();
        if let Some((_, prefix)) = first(lookup, &["REDIS_KEY_PREFIX"]) {
            settings.keyring = Keyring::new(&prefix)?;
        }
        Ok(settings)
    }
}
