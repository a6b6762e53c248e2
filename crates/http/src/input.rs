//! One input object from path, query and body.
//!
//! An operation takes one JSON object and does not know where its fields were written. Here the three places become
//! one: the body's fields, over them the query's, over them the path's. What is written in a path or query is text, which [`Shape`]
//! reads as the input's schema wants it.

use axum::body::{Body, to_bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use http_body_util::LengthLimitError;
use redpoll_services::operation::Shape;
use serde_json::{Map, Value as Json};

use crate::answer::Problem;

/// Adds the path's fields to an object, over what is there.
pub(crate) fn add_path<'a>(
    shape: &Shape,
    params: impl Iterator<Item = (&'a str, &'a str)>,
    input: &mut Map<String, Json>,
) -> Result<(), Problem> {
    for (name, text) in params {
        input.insert(name.to_owned(), shape.value(name, text)?);
    }
    Ok(())
}

/// Adds the query's fields to an object, over what is there.
pub(crate) fn add_query(shape: &Shape, query: &str, input: &mut Map<String, Json>) -> Result<(), Problem> {
    let mut given = Map::new();
    for (name, text) in form_urlencoded::parse(query.as_bytes()) {
        shape.add(&name, &text, &mut given)?;
    }
    input.extend(given);
    Ok(())
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_path_wins_over_the_query_and_that_over_the_body() {
        let shape = Shape::new(json!({"properties": {"name": {"type": "string"}, "count": {"type": "integer"}}}));
        let body = json!({"name": "body", "count": 1, "more": 0});
        let Json::Object(mut input) = body else { unreachable!("an object") };
        add_query(&shape, "name=a%20query&count=2", &mut input).unwrap();
        add_path(&shape, [("name", "path")].into_iter(), &mut input).unwrap();
        assert_eq!(Json::Object(input), json!({"name": "path", "count": 2, "more": 0}));
        let problem = add_query(&shape, "count=1&count=x", &mut Map::new()).unwrap_err();
        assert!(format!("{problem:?}").contains("more than once"), "{problem:?}");
    }
}
