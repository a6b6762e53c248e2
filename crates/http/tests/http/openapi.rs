//! The OpenAPI document: as it was agreed, complete, and with every reference leading somewhere.

use std::collections::BTreeSet;

use redpoll_http::openapi_document;
use redpoll_services::SERVICES;
use serde_json::Value as Json;

/// What clients are generated from; `cargo xtask codegen` writes it after a wanted change.
const GOLDEN: &str = include_str!("../openapi.json");

#[test]
fn the_document_is_the_golden_one() {
    let golden: Json = serde_json::from_str(GOLDEN).unwrap();
    let document = openapi_document();
    for (path, methods) in document["paths"].as_object().unwrap() {
        assert_eq!(Some(methods), golden["paths"].get(path), "{path}: if this is wanted, run `cargo xtask codegen`");
    }
    assert_eq!(document, golden, "if this is wanted, run `cargo xtask codegen`");
}

fn each_value(value: &Json, visit: &mut impl FnMut(&str, &Json)) {
    match value {
        Json::Object(fields) => {
            for (name, field) in fields {
                visit(name, field);
                each_value(field, visit);
            }
        }
        Json::Array(items) => items.iter().for_each(|item| each_value(item, visit)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_to_a_component_and_every_component_is_used() {
    let document = openapi_document();
    let mut referred = BTreeSet::new();
    each_value(&document, &mut |name, value| {
        if name == "$ref" {
            let target = value.as_str().unwrap().strip_prefix("#/components/schemas/").unwrap();
            referred.insert(target.to_owned());
        }
        assert_ne!(name, "$defs", "all definitions are hoisted");
    });
    let components: BTreeSet<String> = document["components"]["schemas"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(referred, components);
}

#[test]
fn every_operation_is_described_with_all_its_fields() {
    let document = openapi_document();
    let mut ids = BTreeSet::new();
    for operation in SERVICES.iter().flat_map(|service| service.operations) {
        let verb = operation.method.as_str().to_ascii_lowercase();
        let paths = document["paths"].as_object().unwrap();
        let described = paths.iter().find(|(path, _)| path.strip_prefix("/v1").unwrap_or(path) == operation.path);
        let described = &described.unwrap_or_else(|| panic!("{operation:?} is missing")).1[&verb];
        assert!(ids.insert(described["operationId"].as_str().unwrap().to_owned()), "{operation:?}");
        let mut fields: BTreeSet<&str> = BTreeSet::new();
        for parameter in described["parameters"].as_array().into_iter().flatten() {
            fields.insert(parameter["name"].as_str().unwrap());
        }
        let body = &described["requestBody"]["content"]["application/json"]["schema"]["properties"];
        fields.extend(body.as_object().into_iter().flat_map(|properties| properties.keys()).map(String::as_str));
        let schema = (operation.input_schema)().to_value();
        let expected: BTreeSet<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, expected, "{operation:?}");
        for name in operation.path_params() {
            assert!(expected.contains(name), "{operation:?}: the path's {name} is no field");
        }
        assert!(described["responses"].get(operation.statuses[0].to_string()).is_some(), "{operation:?}");
    }
}
