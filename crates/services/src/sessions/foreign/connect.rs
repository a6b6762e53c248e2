//! The layout of connect-redis: the session as JSON, with what express-session knows of its cookie.
//!
//! `{"cookie":{"originalMaxAge":86400000,"expires":"2026-11-22T10:00:00.000Z","httpOnly":true,"path":"/"},"views":1}`.
//! express-session cannot read a session without `cookie`, so one is written: that of a cookie that ends with the browser.

use serde_json::{Map, Value as Json, json};

use super::{object, unreadable};
use crate::error::Result;

/// What express-session knows of the cookie.
pub(super) const COOKIE: &str = "cookie";

const NAME: &str = "connect-redis";

pub(super) fn decode(bytes: &[u8]) -> Result<Map<String, Json>> {
    let json = serde_json::from_slice(bytes).map_err(|error| unreadable(NAME, error))?;
    object(json, NAME)
}

pub(super) fn encode(data: &Map<String, Json>) -> Result<Vec<u8>> {
    let mut data = data.clone();
    if !data.get(COOKIE).is_some_and(Json::is_object) {
        let cookie = json!({"originalMaxAge": null, "expires": null, "httpOnly": true, "path": "/"});
        data.insert(COOKIE.to_owned(), cookie);
    }
    Ok(Json::Object(data).to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As express-session 1.18 with connect-redis writes it.
    const WRITTEN: &str = r#"{"cookie":{"originalMaxAge":3600000,"expires":"2026-11-22T11:00:00.000Z","httpOnly":true,"path":"/"},"views":3,"user":{"name":"Ann"}}"#;

    #[test]
    fn what_the_library_wrote_comes_back_to_the_byte() {
        let data = decode(WRITTEN.as_bytes()).unwrap();
        assert_eq!((&data["views"], &data["user"]["name"]), (&json!(3), &json!("Ann")));
        assert_eq!(encode(&data).unwrap(), WRITTEN.as_bytes());
    }

    #[test]
    fn a_session_has_a_cookie() {
        let written = encode(&Map::new()).unwrap();
        assert!(decode(&written).unwrap()[COOKIE]["originalMaxAge"].is_null());
        for bad in ["", "[]", "{", "null", "7"] {
            assert!(decode(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
