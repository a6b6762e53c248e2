//! One input object from path, query and body.
//!
//! An operation takes one JSON object and does not know where its fields were written. Here the three places become
//! one: the body's fields, over them the query's, over them the path's. What is written in a path or query is text, so
//! the input's schema decides what it means: `?limit=10` is a number where the schema wants one and a string where it
//! wants that; a name given several times is a list where the schema has a list.
//!
//! What the fields mean and which must be there is the operation's business.

use axum::body::{Body, to_bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use http_body_util::LengthLimitError;
use serde_json::{Map, Value as Json};

use crate::answer::Problem;

/// Deepest nesting of references and alternatives in a schema that is followed.
const SCHEMA_DEPTH_MAX: usize = 16;

/// The schema of an operation's input, as far as text needs it.
#[derive(Debug)]
pub(crate) struct Shape {
    schema: Json,
}

impl Shape {
    pub(crate) fn new(schema: Json) -> Shape {
        Shape { schema }
    }

    /// Adds the path's fields to an object, over what is there.
    pub(crate) fn add_path<'a>(
        &self,
        params: impl Iterator<Item = (&'a str, &'a str)>,
        input: &mut Map<String, Json>,
    ) -> Result<(), Problem> {
        for (name, text) in params {
            input.insert(name.to_owned(), self.value(name, text)?);
        }
        Ok(())
    }

    /// Adds the query's fields to an object, over what is there.
    pub(crate) fn add_query(&self, query: &str, input: &mut Map<String, Json>) -> Result<(), Problem> {
        let mut given: Map<String, Json> = Map::new();
        for (name, text) in form_urlencoded::parse(query.as_bytes()) {
            match (self.items(&name), given.get_mut(name.as_ref())) {
                (Some(items), Some(Json::Array(list))) => list.push(self.item(&name, items, &text)?),
                (Some(items), _) => {
                    let item = self.item(&name, items, &text)?;
                    given.insert(name.into_owned(), Json::Array(vec![item]));
                }
                (None, Some(_)) => return Err(Problem::invalid(&name, "is given more than once")),
                (None, None) => {
                    let value = self.value(&name, &text)?;
                    given.insert(name.into_owned(), value);
                }
            }
        }
        input.extend(given);
        Ok(())
    }

    fn value(&self, name: &str, text: &str) -> Result<Json, Problem> {
        match self.property(name) {
            Some(schema) => self.item(name, schema, text),
            // The operation knows what to say about a field it does not have.
            None => Ok(Json::String(text.to_owned())),
        }
    }

    fn item(&self, name: &str, schema: &Json, text: &str) -> Result<Json, Problem> {
        self.read(schema, text, 0)
            .ok_or_else(|| Problem::invalid(name, format!("{text:?} is not {}", self.expectation(schema, 0))))
    }

    fn property(&self, name: &str) -> Option<&Json> {
        self.schema["properties"].get(name)
    }

    /// Returns the schema of a list's items, if the field is a list.
    fn items(&self, name: &str) -> Option<&Json> {
        let schema = self.resolve(self.property(name)?);
        types(schema).any(|kind| kind == "array").then(|| &schema["items"])
    }

    fn resolve<'a>(&'a self, schema: &'a Json) -> &'a Json {
        let name = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/$defs/"));
        name.and_then(|name| self.schema["$defs"].get(name)).unwrap_or(schema)
    }

    /// Reads text as a schema wants it; `None` if it cannot be that.
    fn read(&self, schema: &Json, text: &str, depth: usize) -> Option<Json> {
        if depth > SCHEMA_DEPTH_MAX {
            return None;
        }
        let schema = self.resolve(schema);
        if let Some(alternatives) = alternatives(schema) {
            // Text fits every string, so strings come last.
            let (strings, others): (Vec<&Json>, Vec<&Json>) =
                alternatives.iter().partition(|one| types(self.resolve(one)).any(|kind| kind == "string"));
            return others.into_iter().chain(strings).find_map(|one| self.read(one, text, depth + 1));
        }
        let mut kinds: Vec<&str> = types(schema).collect();
        if kinds.is_empty() {
            let is_text = schema.get("const").or(schema.get("enum")).is_some();
            let parsed = if is_text { None } else { serde_json::from_str(text).ok() };
            return Some(parsed.unwrap_or_else(|| Json::String(text.to_owned())));
        }
        kinds.sort_by_key(|kind| *kind == "string");
        kinds.into_iter().find_map(|kind| read_as(kind, text))
    }

    /// Says in words what a schema wants.
    fn expectation(&self, schema: &Json, depth: usize) -> String {
        let schema = self.resolve(schema);
        match alternatives(schema) {
            Some(alternatives) if depth < SCHEMA_DEPTH_MAX => {
                let each: Vec<String> = alternatives.iter().map(|one| self.expectation(one, depth + 1)).collect();
                each.join(" or ")
            }
            _ => types(schema).filter(|kind| *kind != "null").map(spelled).collect::<Vec<_>>().join(" or "),
        }
    }
}

/// Reads a request's body as the object of fields it must be; nothing is an empty object.
pub(crate) async fn body_object(
    headers: &HeaderMap,
    body: Body,
    max_bytes: usize,
) -> Result<Map<String, Json>, Problem> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > max_bytes) {
        return Err(Problem::too_large(max_bytes));
    }
    let bytes = to_bytes(body, max_bytes).await.map_err(|error| match std::error::Error::source(&error) {
        Some(source) if source.is::<LengthLimitError>() => Problem::too_large(max_bytes),
        _ => Problem::new(StatusCode::BAD_REQUEST, "bad_request", format!("the body cannot be read: {error}")),
    })?;
    if bytes.is_empty() {
        return Ok(Map::new());
    }
    if !is_json(headers) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "a body must be JSON and say so: Content-Type: application/json",
        ));
    }
    match serde_json::from_slice(&bytes) {
        Ok(Json::Object(fields)) => Ok(fields),
        Ok(_) => Err(Problem::invalid("body", "must be a JSON object")),
        Err(error) => {
            Err(Problem::new(StatusCode::BAD_REQUEST, "malformed_json", format!("the body is not JSON: {error}")))
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(kind)) = headers.get(CONTENT_TYPE).map(|value| value.to_str()) else {
        return false;
    };
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

fn alternatives(schema: &Json) -> Option<&Vec<Json>> {
    schema["anyOf"].as_array().or_else(|| schema["oneOf"].as_array())
}

/// Returns the types a schema names, one or a list.
fn types(schema: &Json) -> impl Iterator<Item = &str> {
    let kinds = &schema["type"];
    kinds.as_str().into_iter().chain(kinds.as_array().into_iter().flatten().filter_map(Json::as_str))
}

fn read_as(kind: &str, text: &str) -> Option<Json> {
    match kind {
        "string" => Some(Json::String(text.to_owned())),
        "boolean" => text.parse::<bool>().ok().map(Json::Bool),
        "integer" => text.parse::<u64>().map(Json::from).or_else(|_| text.parse::<i64>().map(Json::from)).ok(),
        "number" => serde_json::from_str(text).ok().filter(Json::is_number),
        "object" => serde_json::from_str(text).ok().filter(Json::is_object),
        "array" => serde_json::from_str(text).ok().filter(Json::is_array),
        _ => None,
    }
}

fn spelled(kind: &str) -> &str {
    match kind {
        "integer" => "an integer",
        "number" => "a number",
        "boolean" => "true or false",
        "object" => "a JSON object",
        "array" => "a list",
        _ => "a string",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shape() -> Shape {
        Shape::new(json!({
            "properties": {
                "name": {"type": "string"},
                "count": {"type": "integer", "format": "uint64"},
                "burst": {"type": ["integer", "null"]},
                "ratio": {"type": "number"},
                "fresh": {"type": "boolean"},
                "tags": {"type": "array", "items": {"type": "string"}},
                "sizes": {"type": "array", "items": {"type": "integer"}},
                "ttl_ms": {"anyOf": [{"$ref": "#/$defs/Ttl"}, {"type": "null"}]},
                "kind": {"$ref": "#/$defs/Kind"},
                "value": true,
            },
            "$defs": {
                "Ttl": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
                "Kind": {"oneOf": [{"type": "string", "const": "10"}, {"type": "string", "const": "b"}]},
            }
        }))
    }

    fn check(query: &str, expected: Json) {
        let mut input = Map::new();
        shape().add_query(query, &mut input).unwrap();
        assert_eq!(Json::Object(input), expected, "{query}");
    }

    #[test]
    fn the_schema_decides_what_text_means() {
        check("name=10&count=10", json!({"name": "10", "count": 10}));
        check("count=18446744073709551615", json!({"count": u64::MAX}));
        check("burst=-5&ratio=1.5&fresh=true", json!({"burst": -5, "ratio": 1.5, "fresh": true}));
        check("tags=a&tags=b%20c&sizes=1", json!({"tags": ["a", "b c"], "sizes": [1]}));
        check("ttl_ms=5000", json!({"ttl_ms": 5000}));
        check("ttl_ms=never&kind=10", json!({"ttl_ms": "never", "kind": "10"}));
        check("value=%7B%22a%22%3A1%7D", json!({"value": {"a": 1}}));
        check("value=plain&unknown=1", json!({"value": "plain", "unknown": "1"}));
        check("", json!({}));
    }

    fn refused(query: &str) -> String {
        format!("{:?}", shape().add_query(query, &mut Map::new()).unwrap_err())
    }

    #[test]
    fn what_does_not_fit_is_named() {
        assert!(refused("count=ten").contains(r#"count: \"ten\" is not an integer"#));
        assert!(refused("fresh=1").contains("true or false"));
        assert!(refused("sizes=1&sizes=x").contains("sizes"));
        assert!(refused("count=1&count=2").contains("more than once"));
        assert!(refused("burst=").contains("an integer"));
    }

    #[test]
    fn the_path_wins() {
        let mut input = Map::from_iter([("name".to_owned(), json!("body")), ("count".to_owned(), json!(1))]);
        shape().add_query("name=query&count=2", &mut input).unwrap();
        shape().add_path([("name", "path")].into_iter(), &mut input).unwrap();
        assert_eq!(Json::Object(input), json!({"name": "path", "count": 2}));
    }
}
