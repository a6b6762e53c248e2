//! What the one who runs the server decides.

use std::time::Duration;

/// Who may ask, how much and how long.
#[derive(Clone)]
pub struct Options {
    /// Bearer token that requests must carry, except those for `/healthz` and `/readyz`; none if absent or empty.
    pub token: Option<String>,
    /// Names besides addresses, `localhost` and names without a dot under which the server is asked; `*` for any.
    pub allowed_hosts: Vec<String>,
    /// Largest request body. Default 2 MiB.
    pub body_max_bytes: usize,
    /// Longest time for a request, its body included. Default 30 s.
    pub request_timeout: Duration,
    /// Most feeds at a time. Default 512.
    pub feeds_max: u32,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            token: None,
            allowed_hosts: Vec::new(),
            body_max_bytes: 2 << 20,
            request_timeout: Duration::from_secs(30),
            feeds_max: 512,
        }
    }
}

impl Options {
    /// Returns the token that requests must carry, if any.
    pub(crate) fn wanted_token(&self) -> Option<&str> {
        self.token.as_deref().filter(|token| !token.is_empty())
    }
}

impl std::fmt::Debug for Options {
    /// Leaves the token out.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Options")
            .field("token", &self.token.as_ref().map(|_| "(set)"))
            .field("allowed_hosts", &self.allowed_hosts)
            .field("body_max_bytes", &self.body_max_bytes)
            .field("request_timeout", &self.request_timeout)
            .field("feeds_max", &self.feeds_max)
            .finish()
    }
}
