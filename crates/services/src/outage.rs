//! What each service answers while the store does not: the one place where that is said and chosen.
//!
//! A service lists in its row which policies make sense for it, the default first. Open is for what protects or speeds
//! something up that should go on without it (a cache, a limit against abuse); closed for what must refuse when it cannot
//! be sure and has a way to say so; error for everything whose answer would be a lie. [`OutagePolicies`] holds what an
//! operator chose instead.
//!
//! A policy that has spoken is visible: the result says so, a counter of the service counts it, and `/metrics` tells
//! which policy holds for which service. An answer of the store that refuses service for now (out of memory, loading)
//! is an outage too; see [`Error::is_outage`].
//!
//! Not here: what open and closed mean for a service, which its own essay says.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::SERVICES;
use crate::error::{Error, Result};

/// What to answer when the store does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutagePolicy {
    /// As if the store had nothing to say against it: a lookup misses, a request is admitted.
    #[default]
    Open,
    /// A refusal: what is behind the service must not be reached without it.
    Closed,
    /// The outage itself, as an error.
    Error,
}

impl OutagePolicy {
    /// Returns the policy's name as settings and metrics write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for OutagePolicy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for OutagePolicy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let all = [Self::Open, Self::Closed, Self::Error];
        let found = all.into_iter().find(|policy| policy.name() == text);
        found.ok_or_else(|| Error::invalid("outage", format_args!("{text:?} is none of open, closed, error")))
    }
}

/// The policies of all services.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutagePolicies {
    chosen: BTreeMap<&'static str, OutagePolicy>,
}

impl OutagePolicies {
    /// Reads choices such as `rate=closed,cache=error`; what is not named keeps its default.
    pub fn parse(text: &str) -> Result<Self> {
        let mut policies = Self::default();
        for choice in text.split(',').map(str::trim).filter(|choice| !choice.is_empty()) {
            let Some((service, policy)) = choice.split_once('=') else {
                return Err(Error::invalid("outage", format_args!("{choice:?} is not service=policy")));
            };
            policies.choose(service.trim(), policy.trim().parse()?)?;
        }
        Ok(policies)
    }

    /// Chooses a service's policy. Fails for one that its row does not list: a lock that opens would be no lock.
    pub fn choose(&mut self, service: &str, policy: OutagePolicy) -> Result<()> {
        let Some(row) = SERVICES.iter().find(|row| row.name == service) else {
            return Err(Error::invalid("outage", format_args!("there is no service {service:?}")));
        };
        if !row.outage.contains(&policy) {
            let known: Vec<&str> = row.outage.iter().map(|policy| policy.name()).collect();
            let reason = format_args!("{service} can be {}, not {policy}", known.join(" or ")).to_string();
            return Err(Error::invalid("outage", reason));
        }
        self.chosen.insert(row.name, policy);
        Ok(())
    }

    /// Returns the policy that holds for a service, by its name; an outage is an error where nothing else was said.
    pub fn of(&self, service: &str) -> OutagePolicy {
        let default = || SERVICES.iter().find(|row| row.name == service)?.outage.first().copied();
        self.chosen.get(service).copied().or_else(default).unwrap_or(OutagePolicy::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_rows() {
        let policies = OutagePolicies::default();
        assert_eq!(policies.of("cache"), OutagePolicy::Open);
        assert_eq!(policies.of("rate"), OutagePolicy::Open);
        for service in SERVICES {
            assert!(!service.outage.is_empty(), "{} says nothing", service.name);
            let policy = policies.of(service.name);
            let open = ["cache", "rate"].contains(&service.name);
            assert!(open || policy != OutagePolicy::Open, "{} would go on without the store", service.name);
        }
    }

    #[test]
    fn choices_are_checked() {
        let policies = OutagePolicies::parse(" rate=closed, cache=error,").unwrap();
        assert_eq!(policies.of("rate"), OutagePolicy::Closed);
        assert_eq!(policies.of("cache"), OutagePolicy::Error);
        assert_eq!(OutagePolicies::parse(""), Ok(OutagePolicies::default()));
        for bad in ["rate", "rate=ajar", "events=open", "cache=closed", "nothing=open"] {
            let error = OutagePolicies::parse(bad).unwrap_err();
            assert!(matches!(error, Error::InvalidInput { field: "outage", .. }), "{bad}: {error}");
        }
    }
}
