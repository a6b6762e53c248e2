//! Users as lines, `user name rules…`: in the file that `aclfile` names, or as `user` lines of the settings.
//!
//! A file is taken whole or not at all: everything that is wrong with it is told at once, and then nothing has changed. Rules mean the same as for ACL SETUSER;
//! what ACL SAVE writes is what ACL LIST shows. Comments are read and not kept.

use std::collections::BTreeMap;

use super::admin::check_name;
use super::rules::{UNKNOWN, join_selectors};
use super::{Basis, Rights, User};
use crate::engine::{Engine, System};
use crate::error::Error;
use crate::settings::Setting;

/// A user as a line.
pub(crate) fn line(user: &User) -> Vec<u8> {
    [b"user ", &*user.name, b" ", user.rights.read().describe().as_slice()].concat()
}

/// Where users are kept, if anywhere.
pub(super) fn place(engine: &Engine) -> Result<(String, &dyn System), Error> {
    const NO_FILE: Error = Error::Text(
        "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store users in the Redis configuration.",
    );
    let path = engine.settings.text(Setting::Aclfile);
    let system = engine.system.get().filter(|_| !path.is_empty()).ok_or(NO_FILE)?;
    Ok((path, system.as_ref()))
}

/// Makes the users of a file all there are; if a line is wrong, with the text for the client, nothing has changed.
pub fn load_text(engine: &Engine, path: &str, text: &[u8]) -> Result<(), Error> {
    let mut errors = String::new();
    let mut users: BTreeMap<Vec<u8>, Rights> = BTreeMap::new();
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let (line, number) = (line.trim_ascii(), index + 1);
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let words = words(line);
        let [b"user", name, rules @ ..] = words.as_slice() else {
            errors += &format!("{path}:{number} should start with user keyword followed by the username. ");
            continue;
        };
        let shown = String::from_utf8_lossy(name);
        if check_name(name).is_err() {
            errors += &format!("'{path}:{number}: username '{shown}' contains invalid characters. ");
        } else if users.contains_key(*name) {
            errors += &format!("WARNING: Duplicate user '{shown}' found on line {number}. ");
        } else {
            let rights = read_rules(Basis::of(engine), rules, &format!("{path}:{number}"), &mut errors);
            users.insert(name.to_vec(), rights);
        }
    }
    if !errors.is_empty() {
        let text = format!(
            "ERR {errors}WARNING: ACL errors detected, no change to the previously active ACL rules was performed"
        );
        return Err(text.into());
    }
    engine.users.replace(&engine.registry, users);
    Ok(())
}

/// Reads the rules of a line and adds what is wrong with them to the errors: each word that is no command, and the first that is no rule.
fn read_rules(basis: Basis<'_>, rules: &[&[u8]], place: &str, errors: &mut String) -> Rights {
    let mut rights = Rights::of_a_new_user(basis);
    let Ok(rules) = join_selectors(rules) else {
        *errors += &format!("{place}: Unmatched parenthesis in selector definition. ");
        return rights;
    };
    let mut is_spoiled = false;
    for rule in rules {
        match rights.apply(basis, &rule) {
            Ok(()) => {}
            Err(UNKNOWN) => {
                let rule = String::from_utf8_lossy(&rule);
                *errors += &format!("{place}: Error in applying operation '{rule}': {UNKNOWN}. ");
            }
            Err(reason) if !is_spoiled => {
                is_spoiled = true;
                *errors += &format!("{place}: {reason}. ");
            }
            Err(_) => {}
        }
    }
    rights
}

/// Makes the users of the `user` lines of the settings, which do not repeat that word.
///
/// # Errors
/// What is wrong with a line.
pub fn configure(engine: &Engine, lines: &[String]) -> Result<(), String> {
    let basis = Basis::of(engine);
    let mut users: BTreeMap<Vec<u8>, Rights> = BTreeMap::new();
    for line in lines {
        let words = words(line.as_bytes());
        let [name, rules @ ..] = words.as_slice() else { return Err("a user must have a name".to_owned()) };
        let refuse = |reason: &[u8]| {
            let (name, reason) = (String::from_utf8_lossy(name), String::from_utf8_lossy(reason));
            format!("Error in user declaration '{name}': {}", reason.trim_start_matches("ERR "))
        };
        check_name(name).map_err(|error| refuse(error.text()))?;
        let mut rights = Rights::of_a_new_user(basis);
        rights.apply_all(basis, rules).map_err(|reason| refuse(&reason))?;
        if users.insert(name.to_vec(), rights).is_some() {
            return Err(refuse(b"Duplicate user found. A user can only be defined once in config files"));
        }
    }
    for user in engine.users.all() {
        users.entry(user.name.to_vec()).or_insert_with(|| user.rights.read().clone());
    }
    engine.users.replace(&engine.registry, users);
    Ok(())
}

fn words(line: &[u8]) -> Vec<&[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect()
}
