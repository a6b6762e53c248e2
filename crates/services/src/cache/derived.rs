//! Keys derived from what a value depends on: arguments, a query, a prompt, a text to be embedded.
//!
//! ```text
//! fn:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
//! │  └ SHA-256 over the kind and each part, every one behind its length
//! └ kind
//! ```
//!
//! The same question gives the same key in every process and on every machine, in any order of an object's members, and
//! two questions that differ anywhere give two keys: nothing is cut off, the hash is whole, no part can run into the next,
//! and kinds cannot meet. A hash that each process salts differently, text cut to a length, a short or broken hash fail
//! at one of these, and then one user reads what was made for another.
//!
//! Whatever a value depends on must be part of its question: who asks, if the answer depends on it; the version of a
//! function; the model and its parameters. A number counts as it is written: `1` and `1.0` are two questions, which at
//! worst costs a second answer. Texts of queries and prompts are taken to the letter.

use std::fmt;

use serde::Serialize;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// A key that stands for a question.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DerivedKey(String);

/// A message of a conversation that a model goes on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Message<'a> {
    /// Who says it: `system`, `user`, `assistant`, `tool`.
    pub role: &'a str,
    /// What is said.
    pub content: &'a str,
}

impl DerivedKey {
    /// Derives the key of a call: the function's name, the version of what it does, and its arguments.
    ///
    /// # Errors
    /// Arguments that have no JSON form, such as a map whose keys are no texts; here and below.
    pub fn of_call<A: Serialize + ?Sized>(function: &str, version: u32, args: &A) -> Result<Self> {
        derive("fn", &[function, &version.to_string(), &canonical(args)?])
    }

    /// Derives the key of a query: the database it is sent to, its text to the letter, and its parameters.
    pub fn of_query<P: Serialize + ?Sized>(database: &str, text: &str, params: &P) -> Result<Self> {
        derive("sql", &[database, text, &canonical(params)?])
    }

    /// Derives the key of a request to an interface: method, address, parameters or body. Who asks belongs to it where the
    /// answer depends on who asks.
    pub fn of_request<P: Serialize + ?Sized>(method: &str, url: &str, who: &str, params: &P) -> Result<Self> {
        derive("api", &[&method.to_ascii_uppercase(), url, who, &canonical(params)?])
    }

    /// Derives the key of a prompt: the model, its parameters (temperature, tools, …), and all messages in order.
    pub fn of_prompt<P: Serialize + ?Sized>(model: &str, parameters: &P, messages: &[Message<'_>]) -> Result<Self> {
        derive("llm", &[model, &canonical(parameters)?, &canonical(messages)?])
    }

    /// Derives the key of a text's embedding by a model.
    pub fn of_embedding(model: &str, text: &str) -> Self {
        derive("emb", &[model, text]).expect("texts need no other form")
    }

    /// Returns the key as a cache takes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DerivedKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

pub(super) fn derive(kind: &'static str, parts: &[&str]) -> Result<DerivedKey> {
    let mut hash = Sha256::new();
    for part in std::iter::once(&kind).chain(parts) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digest: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(DerivedKey(format!("{kind}:{digest}")))
}

/// Writes a value as JSON without blanks, the members of objects in the order of their names' bytes.
///
/// # Errors
/// A value without a JSON form.
pub fn canonical<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    let json = serde_json::to_value(value).map_err(|error| Error::invalid("value", error))?;
    let mut text = String::new();
    write(&mut text, &json);
    Ok(text)
}

/// The depth is that of the value, which serde has walked through as deeply already.
fn write(text: &mut String, json: &Json) {
    match json {
        Json::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write(text, item);
            }
            text.push(']');
        }
        Json::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| name.as_bytes());
            text.push('{');
            for (index, (name, value)) in members.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(&Json::from(name.as_str()).to_string());
                text.push(':');
                write(text, value);
            }
            text.push('}');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use serde_json::json;

    use super::*;

    #[test]
    fn the_same_in_every_process_and_order() {
        let key = DerivedKey::of_call("price", 1, &json!({"b": [1, {"y": null, "x": "é\n"}], "a": 2})).unwrap();
        let same = DerivedKey::of_call("price", 1, &json!({"a": 2, "b": [1, {"x": "é\n", "y": null}]})).unwrap();
        assert_eq!(key, same);
        // Written down, since another process must find it: made by `sha256sum` from the same bytes.
        assert_eq!(DerivedKey::of_embedding("m", "t").as_str(), KNOWN);
        let many: HashMap<String, u32> = (0..100).map(|number| (format!("k{number}"), number)).collect();
        let again: HashMap<String, u32> = many.clone().into_iter().collect();
        assert_eq!(canonical(&many).unwrap(), canonical(&again).unwrap(), "maps are salted, keys are not");
    }

    const KNOWN: &str = "emb:612d730bcb23dc90c89108d70e1750fd6684a32cd755e06ab89d9e0288fd0f80";

    /// What a hurried hand would write.
    fn naive(text: &str, args: &str) -> String {
        format!("{}:{args}", &text[..text.len().min(100)])
    }

    #[test]
    fn nothing_is_cut_off_and_nothing_runs_into_the_next() {
        let long = "x".repeat(5_000);
        let longer = format!("{long}y");
        assert_eq!(naive(&long, ""), naive(&longer, ""), "the naive one gives one user's answer to another");
        assert_eq!(naive("a:b", "c"), naive("a", "b:c"));
        let args = json!([]);
        let keys = [
            DerivedKey::of_query("db", &long, &args).unwrap(),
            DerivedKey::of_query("db", &longer, &args).unwrap(),
            DerivedKey::of_query("a:b", "c", &args).unwrap(),
            DerivedKey::of_query("a", "b:c", &args).unwrap(),
            DerivedKey::of_query("ab", "c", &args).unwrap(),
            DerivedKey::of_query("a", "bc", &args).unwrap(),
            DerivedKey::of_call("a", 1, &args).unwrap(),
            DerivedKey::of_call("a", 11, &args).unwrap(),
            DerivedKey::of_call("a1", 1, &args).unwrap(),
            DerivedKey::of_call("a", 1, &json!(["1"])).unwrap(),
            DerivedKey::of_call("a", 1, &json!([1])).unwrap(),
            DerivedKey::of_call("a", 1, &json!([[1]])).unwrap(),
            DerivedKey::of_call("a", 1, &json!([1, 1])).unwrap(),
            DerivedKey::of_call("a", 1, &json!([null])).unwrap(),
            DerivedKey::of_call("a", 1, &json!({"a": null})).unwrap(),
            DerivedKey::of_embedding("a", "1"),
        ];
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
        assert!(
            keys.iter().all(|key| key.as_str().len() == key.as_str().find(':').unwrap() + 1 + 64),
            "all of the hash"
        );
    }

    #[test]
    fn prompts_depend_on_all_they_depend_on() {
        let ask = |content| Message { role: "user", content };
        let key = |model, temperature: f64, messages: &[Message<'_>]| {
            DerivedKey::of_prompt(model, &json!({ "temperature": temperature }), messages).unwrap()
        };
        let keys = [
            key("m", 0.0, &[ask("a"), ask("b")]),
            key("n", 0.0, &[ask("a"), ask("b")]),
            key("m", 0.5, &[ask("a"), ask("b")]),
            key("m", 0.0, &[ask("b"), ask("a")]),
            key("m", 0.0, &[ask("a b")]),
            key("m", 0.0, &[Message { role: "system", content: "a" }, ask("b")]),
        ];
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
        let who = |who| DerivedKey::of_request("get", "https://x/me", who, &()).unwrap();
        assert_ne!(who("ada"), who("grace"));
        assert_eq!(DerivedKey::of_request("GET", "https://x/me", "ada", &()).unwrap(), who("ada"));
    }

    #[test]
    fn what_has_no_json_form() {
        assert!(DerivedKey::of_call("f", 1, &HashMap::from([((1, 2), 3)])).is_err());
        assert_eq!(canonical(&f64::NAN).unwrap(), "null");
    }
}
