//! Policies to begin with, as TOML files beside this one: the limits that existing deployments were found to have.

use super::policy::Policy;

/// Names and texts of the presets.
pub const PRESETS: &[(&str, &str)] = &[
    ("user_management", include_str!("presets/user_management.toml")),
    ("platform", include_str!("presets/platform.toml")),
    ("agents", include_str!("presets/agents.toml")),
];

/// Returns a preset; `None` if there is none of that name.
pub fn preset(name: &str) -> Option<Policy> {
    let (_, text) = PRESETS.iter().find(|(known, _)| *known == name)?;
    Some(Policy::from_toml(text).expect("every preset is tested"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Request;

    #[test]
    fn presets_hold() {
        PRESETS.iter().for_each(|(name, _)| assert!(preset(name).is_some()));
        let check = |name: &str, request: Request, expect: &[&str]| {
            let policy = preset(name).unwrap();
            assert_eq!(policy.plan(&request).unwrap().describe(), expect, "{name}");
        };
        assert!(preset("none").is_none());
        check("user_management", Request::new("GET /x").about("user", "1"), &["user:1 user_minute 1"]);
        check("platform", Request::new("GET /x").about("user", "1"), &["user:1 user_window 1"]);
        let execute = Request::new("POST /api/v1/agents/execute").about("user", "1");
        check("agents", execute.clone(), &["user:1 execute_minute 1", "user:1 execute_hour 1", "user:1 execute_day 1"]);
        check(
            "agents",
            execute.in_tier("enterprise").costing("tokens", 9),
            &["user:1 execute_minute 1", "user:1 execute_hour 1", "user:1 tokens_minute 9"],
        );
        check("agents", Request::new("GET /health"), &[]);
        check("agents", Request::new("POST /api/v1/auth/login").about("ip", "::1"), &["ip:::1 login_minute 1"]);
    }
}
