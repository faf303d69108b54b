//! `GET /openapi.json`: the interface as OpenAPI 3.1, made of what stands at the handlers and of the types they answer with.
//!
//! Describes and never decides. Every answer's object has exactly the members that its schema names.

pub(super) mod problems;
pub(super) mod reading;

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::Method;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::{Router, routing};
use skidway_wire::Problem;
use utoipa::openapi::schema::{AdditionalProperties, Schema};
use utoipa::openapi::{ComponentsBuilder, Content, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, RefOr};
use utoipa_axum::router::OpenApiRouter;

use crate::listen::http::door::Door;
use crate::listen::http::guard;

/// Schemas whose objects may have more members than they name.
const OPEN: [&str; 1] = ["Problem"];

/// What is answered piece by piece.
const STREAMS: [&str; 2] = ["text/event-stream", "application/x-ndjson"];

/// Begins an empty document.
pub(super) fn document() -> OpenApi {
    let license = LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build();
    let description = "Produce to topics, read them and subscribe to them. Errors are application/problem+json (RFC 9457). Where access.mode is \
                       \"tokens\", every call but probes and beacons needs `Authorization: Bearer`.";
    let info = InfoBuilder::new().title("Skidway").version(env!("CARGO_PKG_VERSION")).description(Some(description));
    // Refusals refer to it.
    let components = ComponentsBuilder::new().schema_from::<Problem>().build();
    OpenApiBuilder::new().info(info.license(Some(license)).build()).components(Some(components)).build()
}

/// Splits what is described from what serves it, and lets the router answer with the description.
pub(super) fn serve(described: OpenApiRouter<Arc<Door>>) -> Router<Arc<Door>> {
    let (router, mut document) = described.split_for_parts();
    close(&mut document);
    refuse(&mut document);
    // As bytes, which all share: every connection has a copy of the handler, and the document itself is 2 MiB in memory.
    let text = Bytes::from(serde_json::to_vec_pretty(&document).expect("a document is plain JSON"));
    let answer = move || std::future::ready(([(CONTENT_TYPE, "application/json")], text).into_response());
    router.route("/openapi.json", routing::get(answer))
}

/// Lets objects have no members but those that are named. Streams have no schema: what of their lines and events is JSON is told in words.
fn close(document: &mut OpenApi) {
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete];
        let responses =
            operations.into_iter().flatten().flat_map(|operation| operation.responses.responses.values_mut());
        for response in responses {
            let RefOr::T(response) = response else { continue };
            let streams = response.content.iter_mut().filter(|(media_type, _)| STREAMS.contains(&media_type.as_str()));
            streams.for_each(|(_, content)| *content = RefOr::T(Content::default()));
        }
    }
    let schemas = document.components.iter_mut().flat_map(|components| &mut components.schemas);
    for (_, schema) in schemas.filter(|(name, _)| !OPEN.contains(&name.as_str())) {
        close_schema(schema);
    }
}

/// Adds what any call may be answered before its handler decides: by the table of what it needs, and while its body is read.
fn refuse(document: &mut OpenApi) {
    for (route, item) in &mut document.paths.paths {
        let operations = [
            (Method::GET, &mut item.get),
            (Method::PUT, &mut item.put),
            (Method::POST, &mut item.post),
            (Method::DELETE, &mut item.delete),
        ];
        for (method, operation) in operations {
            let Some(operation) = operation else { continue };
            let of_bodies = operation.request_body.is_some().then_some(408);
            for status in guard::refusals(&method, route).iter().copied().chain(of_bodies) {
                operation.responses.responses.insert(status.to_string(), problems::refused(status));
            }
        }
    }
}

fn close_schema(schema: &mut RefOr<Schema>) {
    let RefOr::T(schema) = schema else { return };
    match schema {
        Schema::Object(object) => {
            object.properties.values_mut().for_each(close_schema);
            if object.additional_properties.is_none() && !object.properties.is_empty() {
                object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
            }
        }
        Schema::OneOf(one_of) => one_of.items.iter_mut().for_each(close_schema),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_tells_of_the_refusals_that_need_no_handler() {
        let mut document = crate::listen::http::described().into_openapi();
        refuse(&mut document);
        for (route, item) in &document.paths.paths {
            for operation in [&item.get, &item.put, &item.post, &item.delete].into_iter().flatten() {
                let told = |status: &str| operation.responses.responses.contains_key(status);
                let is_open = matches!(route.as_str(), "/healthz" | "/readyz" | "/v1/beacons/{token}");
                assert_eq!(told("401"), !is_open, "{route}");
                assert!(is_open || (told("403") && told("429")), "{route}");
                assert_eq!(told("408"), operation.request_body.is_some(), "{route}");
            }
        }
    }
}
