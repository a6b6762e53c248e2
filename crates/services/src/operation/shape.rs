//! Inputs written as text: what a path, a query or a command line says, as the JSON that an operation takes.
//!
//! Text has no types, so the input's schema decides what it means: `10` is a number where the schema wants one and a string where it wants that; a field that
//! is a list takes one element each time it is given. What the fields mean and which must be there is the operation's business.

use serde_json::{Map, Value as Json};

use super::Operation;

/// Deepest nesting of references and alternatives in a schema that is followed.
const SCHEMA_DEPTH_MAX: usize = 16;

/// The schema of an operation's input, as far as text needs it.
#[derive(Debug)]
pub struct Shape {
    schema: Json,
}

/// A field of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it is, as its documentation says.
    pub doc: &'a str,
    /// Whether it must be given.
    pub is_required: bool,
    /// Whether it may be given several times.
    pub is_list: bool,
}

/// Text that is not what a field takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Misfit {
    /// The field.
    pub field: String,
    /// What is wrong, as a sentence.
    pub reason: String,
}

impl Misfit {
    fn new(field: &str, reason: impl Into<String>) -> Self {
        Self { field: field.to_owned(), reason: reason.into() }
    }
}

impl Shape {
    /// Takes a JSON schema of an object.
    pub fn new(schema: Json) -> Self {
        Self { schema }
    }

    /// Returns the shape of an operation's input.
    pub fn of(operation: &Operation) -> Self {
        Self::new((operation.input_schema)().to_value())
    }

    /// Returns the fields in the order of their declaration.
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        let required = self.schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
        let properties = self.schema["properties"].as_object().into_iter().flatten();
        properties.map(|(name, schema)| Field {
            name,
            doc: schema["description"].as_str().unwrap_or_default(),
            is_required: required.iter().any(|one| one == name.as_str()),
            is_list: self.items(name).is_some(),
        })
    }

    /// Adds a field to an object that holds nothing but what was added this way; another element, if the field is a list.
    ///
    /// # Errors
    /// When the text is not what the field takes, or a field that is no list is there already.
    pub fn add(&self, name: &str, text: &str, input: &mut Map<String, Json>) -> Result<(), Misfit> {
        match (self.items(name), input.get_mut(name)) {
            (Some(items), Some(Json::Array(list))) => list.push(self.item(name, items, text)?),
            (Some(items), _) => {
                let item = self.item(name, items, text)?;
                input.insert(name.to_owned(), Json::Array(vec![item]));
            }
            (None, Some(_)) => return Err(Misfit::new(name, "is given more than once")),
            (None, None) => {
                input.insert(name.to_owned(), self.value(name, text)?);
            }
        }
        Ok(())
    }

    /// Returns the whole value of a field.
    ///
    /// # Errors
    /// When the text is not what the field takes.
    pub fn value(&self, name: &str, text: &str) -> Result<Json, Misfit> {
        match self.property(name) {
            Some(schema) => self.item(name, schema, text),
            // The operation knows what to say about a field it does not have.
            None => Ok(Json::String(text.to_owned())),
        }
    }

    fn item(&self, name: &str, schema: &Json, text: &str) -> Result<Json, Misfit> {
        self.read(schema, text, 0)
            .ok_or_else(|| Misfit::new(name, format!("{text:?} is not {}", self.expectation(schema, 0))))
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
            "required": ["count"],
            "properties": {
                "name": {"type": "string", "description": "Who."},
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

    fn read(given: &[(&str, &str)]) -> Result<Json, String> {
        let mut input = Map::new();
        for (name, text) in given {
            shape().add(name, text, &mut input).map_err(|misfit| misfit.to_string())?;
        }
        Ok(Json::Object(input))
    }

    #[test]
    fn the_schema_decides_what_text_means() {
        let check = |given: &[(&str, &str)], expected: Json| assert_eq!(read(given), Ok(expected), "{given:?}");
        check(&[("name", "10"), ("count", "10")], json!({"name": "10", "count": 10}));
        check(&[("count", "18446744073709551615")], json!({"count": u64::MAX}));
        check(
            &[("burst", "-5"), ("ratio", "1.5"), ("fresh", "true")],
            json!({"burst": -5, "ratio": 1.5, "fresh": true}),
        );
        check(&[("tags", "a"), ("tags", "b c"), ("sizes", "1")], json!({"tags": ["a", "b c"], "sizes": [1]}));
        check(&[("ttl_ms", "5000")], json!({"ttl_ms": 5000}));
        check(&[("ttl_ms", "never"), ("kind", "10")], json!({"ttl_ms": "never", "kind": "10"}));
        check(&[("value", r#"{"a":1}"#)], json!({"value": {"a": 1}}));
        check(&[("value", "plain"), ("unknown", "1")], json!({"value": "plain", "unknown": "1"}));
        check(&[], json!({}));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let refused = |given: &[(&str, &str)]| read(given).unwrap_err();
        assert_eq!(refused(&[("count", "ten")]), r#"count: "ten" is not an integer"#);
        assert_eq!(refused(&[("fresh", "1")]), r#"fresh: "1" is not true or false"#);
        assert!(refused(&[("sizes", "1"), ("sizes", "x")]).starts_with("sizes: "));
        assert_eq!(refused(&[("count", "1"), ("count", "2")]), "count: is given more than once");
        assert!(refused(&[("burst", "")]).contains("an integer"));
    }

    #[test]
    fn fields_are_listed() {
        let shape = shape();
        let fields: Vec<Field> = shape.fields().collect();
        assert_eq!(fields[0], Field { name: "name", doc: "Who.", is_required: false, is_list: false });
        assert!(fields[1].is_required && !fields[1].is_list);
        assert!(fields.iter().filter(|field| field.is_list).map(|field| field.name).eq(["tags", "sizes"]));
    }
}
