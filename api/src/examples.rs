//! Examples of all request bodies in the OpenAPI document: `examples.json`, by operation.
//!
//! "Try it out" offers them, so each must work unchanged, and none may cost money or set a limit;
//! `cli/tests/it/examples.rs` sends all of them to a real server.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::openapi::{OpenApi as Document, RefOr, path::Operation};

/// Adds the examples to the document.
pub(crate) fn document_examples(document: &mut Document) {
    let examples: BTreeMap<String, Value> = serde_json::from_str(include_str!("examples.json"))
        .expect("the tests check that the examples are JSON");
    for item in document.paths.paths.values_mut() {
        let operations = [
            &mut item.post,
            &mut item.put,
            &mut item.patch,
            &mut item.delete,
        ];
        for operation in operations.into_iter().flatten() {
            document_example(operation, &examples);
        }
    }
}

fn document_example(operation: &mut Operation, examples: &BTreeMap<String, Value>) {
    let name = operation.operation_id.as_deref().unwrap_or_default();
    let (Some(example), Some(RefOr::T(body))) =
        (examples.get(name), operation.request_body.as_mut())
    else {
        return;
    };
    for content in body.content.values_mut() {
        if let RefOr::T(content) = content {
            content.example = Some(example.clone());
        }
    }
}
