//! The OpenAPI 3.1 document, derived from the tables of operations.
//!
//! A row gives verb, path, prose and two schemas. Path parameters become parameters; the other fields of the input are
//! the query of a verb without a body and the body of one with. Schemas of types are hoisted to `components`, named by
//! service and type (`CacheKeyInput`), so that adding a service renames nothing.

use std::collections::BTreeSet;

use redpoll_services::SERVICES;
use redpoll_services::operation::{Envelope, Method, Operation, Run};
use serde_json::{Map, Value as Json, json};

use crate::routes::mounted_at;

/// What statuses mean, for those that operations name.
#[rustfmt::skip]
const STATUSES: &[(u16, &str)] = &[
    (200, "Done."),
    (404, "The thing it is about does not exist."),
    (409, "Another caller was faster, or the thing's state forbids it."),
    (413, "The payload is above the limit."),
    (422, "The input can never work; `details.field` names the field."),
    (429, "The limit is reached; `Retry-After` says when to come again."),
    (503, "The store cannot be reached or refuses service for now."),
    (504, "The store did not answer in time; whether it was done is unknown."),
];

/// Makes the document.
pub fn document() -> Json {
    let mut components = Components::default();
    let mut paths = system_paths();
    for service in SERVICES {
        for operation in service.operations {
            let path = paths.entry(mounted_at(operation)).or_insert_with(|| json!({}));
            path[operation.method.as_str().to_ascii_lowercase()] = describe(operation, &mut components);
        }
    }
    components.schemas.extend(common_schemas());
    let tags = SERVICES.iter().map(|service| json!({"name": service.name, "description": service.doc}));
    let tags: Vec<Json> =
        tags.chain([json!({"name": "system", "description": "Health, metrics and this document."})]).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Redpoll",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Services that backends build on an in-memory store.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": components.schemas,
            "securitySchemes": {"token": {
                "type": "http", "scheme": "bearer", "description": "Asked for if the server was started with a token.",
            }},
        },
        "security": [{}, {"token": []}],
    })
}

/// Describes one operation.
fn describe(operation: &Operation, components: &mut Components) -> Json {
    let names = Names { service: operation.service };
    let input = components.take((operation.input_schema)().to_value(), &names);
    let output = components.add((operation.output_schema)().to_value(), &names);
    let in_path: BTreeSet<&str> = operation.path_params().collect();
    let (mut parameters, mut fields) = (Vec::new(), Map::new());
    let has_body = matches!(operation.method, Method::Put | Method::Post);
    for (name, schema) in input["properties"].as_object().into_iter().flatten() {
        match in_path.contains(name.as_str()) {
            true => parameters.push(parameter("path", name, schema, &input)),
            false if has_body => drop(fields.insert(name.clone(), schema.clone())),
            false => parameters.push(parameter("query", name, schema, &input)),
        }
    }
    let mut described = json!({
        "operationId": format!("{}_{}", operation.service, operation.name),
        "tags": [operation.service],
        "summary": operation.summary,
        "description": operation.doc,
        "responses": responses(operation, output),
    });
    if !parameters.is_empty() {
        described["parameters"] = Json::Array(parameters);
    }
    if !fields.is_empty() {
        described["requestBody"] = request_body(&input, fields, &in_path);
    }
    described
}

fn parameter(place: &str, name: &str, schema: &Json, input: &Json) -> Json {
    let mut schema = schema.clone();
    let description = schema.as_object_mut().and_then(|fields| fields.remove("description"));
    let mut parameter = json!({
        "name": name,
        "in": place,
        "required": place == "path" || is_required(input, name),
        "schema": schema,
    });
    if let Some(description) = description {
        parameter["description"] = description;
    }
    parameter
}

fn request_body(input: &Json, fields: Map<String, Json>, in_path: &BTreeSet<&str>) -> Json {
    let required: Vec<&Json> = input["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|name| !in_path.contains(name.as_str().unwrap_or("")))
        .collect();
    let is_required = !required.is_empty();
    let mut schema = json!({"type": "object", "properties": fields, "additionalProperties": false});
    if is_required {
        schema["required"] = json!(required);
    }
    if let Some(description) = input.get("description") {
        schema["description"] = description.clone();
    }
    json!({"required": is_required, "content": {"application/json": {"schema": schema}}})
}

fn is_required(input: &Json, name: &str) -> bool {
    input["required"].as_array().into_iter().flatten().any(|required| required == name)
}

fn responses(operation: &Operation, output: Json) -> Json {
    let (success, failure) = match operation.envelope {
        Envelope::None => (output, "Failure"),
        Envelope::Outcome { message } => {
            let envelope = json!({
                "type": "object",
                "required": ["success", "message", "data"],
                "properties": {"success": {"const": true}, "message": {"const": message}, "data": output},
            });
            (envelope, "EnvelopedFailure")
        }
    };
    let failure = json!({"$ref": format!("#/components/schemas/{failure}")});
    let mut responses = Map::new();
    for (index, status) in operation.statuses.iter().enumerate() {
        let text = STATUSES.iter().find(|(known, _)| known == status).map_or("See the description.", |(_, text)| text);
        // A refusal by a limit carries the decision, as an admission does.
        let schema = if index == 0 || *status == 429 { &success } else { &failure };
        let response = match operation.run {
            Run::Feed(_) if index == 0 => {
                let text = "Server-sent events; their `data` is this, their `id` goes back as `Last-Event-ID`. With `Upgrade: websocket` the same over a WebSocket.";
                json!({"description": text, "content": {"text/event-stream": {"schema": schema}}})
            }
            _ => content(text, schema),
        };
        responses.insert(status.to_string(), response);
    }
    responses.insert(
        "default".to_owned(),
        content("Any other failure: a request that is malformed, too large or not allowed.", &failure),
    );
    Json::Object(responses)
}

fn content(description: &str, schema: &Json) -> Json {
    json!({"description": description, "content": {"application/json": {"schema": schema}}})
}

/// The routes that belong to no service.
fn system_paths() -> Map<String, Json> {
    let route = |id: &str, summary: &str, responses: Json| json!({"get": {"operationId": format!("system_{id}"), "tags": ["system"], "summary": summary, "responses": responses}});
    let health = json!({"$ref": "#/components/schemas/Health"});
    let text = |kind: &str| json!({"description": "The text.", "content": {kind: {"schema": {"type": "string"}}}});
    let object = json!({"type": "object"});
    Map::from_iter([
        (
            "/healthz".to_owned(),
            route("healthz", "Tells that the process is alive.", json!({"200": content("It is.", &object)})),
        ),
        (
            "/readyz".to_owned(),
            route(
                "readyz",
                "Tells whether the store works, by using it.",
                json!({
                    "200": content("It works.", &health),
                    "503": content("It does not work.", &health),
                }),
            ),
        ),
        (
            "/metrics".to_owned(),
            route("metrics", "Gives the metrics in the Prometheus text format.", json!({"200": text("text/plain")})),
        ),
        (
            "/openapi.json".to_owned(),
            route("openapi", "Gives this document.", json!({"200": content("OpenAPI 3.1.", &object)})),
        ),
    ])
}

/// Schemas that belong to no service.
fn common_schemas() -> Map<String, Json> {
    let level = json!({"enum": ["healthy", "unknown", "warning", "critical"]});
    let schemas = json!({
        "Failure": {
            "type": "object",
            "description": "What went wrong.",
            "required": ["error"],
            "properties": {"error": {
                "type": "object",
                "required": ["code", "message", "details"],
                "properties": {
                    "code": {"type": "string", "description": "Stable name of the kind, for machines."},
                    "message": {"type": "string", "description": "A sentence, for people."},
                    "details": {"type": ["object", "null"], "description": "What depends on the kind, such as the field."},
                },
            }},
        },
        "EnvelopedFailure": {
            "type": "object",
            "description": "What went wrong, in an envelope.",
            "required": ["success", "error", "details"],
            "properties": {
                "success": {"const": false},
                "error": {"type": "string", "description": "Stable name of the kind, for machines."},
                "details": {"type": "string", "description": "A sentence, for people."},
            },
        },
        "Health": {
            "type": "object",
            "description": "Whether the store works.",
            "required": ["status", "reasons", "latency_ms"],
            "properties": {
                "status": level,
                "reasons": {"type": "array", "items": {
                    "type": "object",
                    "required": ["level", "check", "reason"],
                    "properties": {"level": level, "check": {"type": "string"}, "reason": {"type": "string"}},
                }},
                "latency_ms": {"type": ["number", "null"], "description": "How long the probe took."},
            },
        },
    });
    match schemas {
        Json::Object(schemas) => schemas,
        _ => unreachable!("written as an object above"),
    }
}

/// Hoisted schemas by name.
#[derive(Default)]
struct Components {
    schemas: Map<String, Json>,
}

/// Makes the names of a service's components.
struct Names {
    service: &'static str,
}

impl Names {
    fn of(&self, kind: &str) -> String {
        let mut service = self.service.chars();
        let first = service.next().map(|char| char.to_ascii_uppercase());
        first.into_iter().chain(service).chain(kind.chars()).collect()
    }
}

impl Components {
    /// Hoists what a schema defines and returns the rest.
    fn take(&mut self, mut schema: Json, names: &Names) -> Json {
        let definitions = schema.as_object_mut().and_then(|fields| {
            fields.remove("$schema");
            fields.remove("$defs")
        });
        for (name, mut definition) in
            definitions.iter().flat_map(Json::as_object).flatten().map(|(n, d)| (n, d.clone()))
        {
            redirect(&mut definition, names);
            self.put(names.of(name), definition);
        }
        redirect(&mut schema, names);
        schema
    }

    /// Hoists a whole schema and returns the reference to it; one without a name stays where it is.
    fn add(&mut self, schema: Json, names: &Names) -> Json {
        let mut schema = self.take(schema, names);
        let Some(Json::String(title)) = schema.as_object_mut().and_then(|fields| fields.remove("title")) else {
            return schema;
        };
        let name = names.of(&title);
        self.put(name.clone(), schema);
        json!({"$ref": format!("#/components/schemas/{name}")})
    }

    /// Two types of one service that share a name would describe each other wrongly.
    fn put(&mut self, name: String, schema: Json) {
        let before = self.schemas.insert(name.clone(), schema);
        if let Some(before) = before {
            assert_eq!(before, self.schemas[&name], "two types are called {name}");
        }
    }
}

/// Points references at the components.
fn redirect(schema: &mut Json, names: &Names) {
    match schema {
        Json::Object(fields) => {
            if let Some(Json::String(reference)) = fields.get_mut("$ref")
                && let Some(name) = reference.strip_prefix("#/$defs/")
            {
                *reference = format!("#/components/schemas/{}", names.of(name));
            }
            fields.values_mut().for_each(|value| redirect(value, names));
        }
        Json::Array(items) => items.iter_mut().for_each(|item| redirect(item, names)),
        _ => {}
    }
}
