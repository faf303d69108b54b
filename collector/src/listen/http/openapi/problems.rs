//! Refusals as the description names them: a status each, and what it means wherever it is met.

use std::collections::BTreeMap;

use skidway_wire::{Problem, problem};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

/// Is a refusal of one status.
pub(in crate::listen::http) struct Refused<const STATUS: u16>;

impl<const STATUS: u16> IntoResponses for Refused<STATUS> {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        BTreeMap::from([(STATUS.to_string(), refused(STATUS))])
    }
}

/// Describes a refusal.
pub(super) fn refused(status: u16) -> RefOr<Response> {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(Problem::name()))).build();
    let response = ResponseBuilder::new().description(meaning(status)).content(problem::MEDIA_TYPE, content);
    RefOr::T(response.build())
}

fn meaning(status: u16) -> &'static str {
    match status {
        400 => "A parameter, a header or the body is wrong.",
        401 => "There is no token, or it is not valid.",
        403 => "The token does not reach, the topic is Skidway's own, or another has taken the caller's place.",
        404 => "There is none of this name.",
        406 => "The answer has none of the accepted types.",
        408 => "The body did not come on.",
        409 => "What is asked contradicts what there is.",
        410 => "The records are gone; `earliest` is a token to go on from.",
        412 => "The expectation does not hold: another wrote first.",
        413 => "The body is larger than may be.",
        415 => "The body is of another type.",
        422 => "The records are damaged on disk; `next` is a token after them.",
        426 => "The frame is of a version that is not spoken here.",
        429 => "Too many, or over the token's quota; `Retry-After` says when to try again.",
        503 => "Not now; `Retry-After` says when to try again.",
        507 => "The disk is full. Reading goes on.",
        _ => "Refused.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_problem_document() {
        let responses = Refused::<404>::responses();
        let RefOr::T(response) = &responses["404"] else { panic!("{responses:?}") };
        assert!(response.content.contains_key("application/problem+json"));
    }
}
