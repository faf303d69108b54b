//! Names in URLs, checked.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use skidway_record::{AgentId, TopicName};
use utoipa::IntoParams;

use crate::listen::http::answers::Failure;

/// Describes the topic in a URL.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it describes, TopicPath reads")]
pub(super) struct TopicParam {
    /// Name.
    #[param(
        pattern = "^([A-Za-z0-9_-][A-Za-z0-9._-]{0,248}|[.][A-Za-z0-9_-][A-Za-z0-9._-]{0,247}|[.][.][A-Za-z0-9._-]{1,247})$"
    )]
    topic: String,
}

/// Is the topic in a URL.
pub(super) struct TopicPath(pub(super) TopicName);

/// Describes the group in a URL.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it describes, GroupName reads")]
pub(super) struct GroupParam {
    /// Name.
    #[param(
        pattern = "^([A-Za-z0-9_-][A-Za-z0-9._-]{0,248}|[.][A-Za-z0-9_-][A-Za-z0-9._-]{0,247}|[.][.][A-Za-z0-9._-]{1,247})$"
    )]
    group: String,
}

/// Describes the queue in a URL.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it describes, QueuePath reads")]
pub(super) struct QueueParam {
    /// Name.
    #[param(
        pattern = "^([A-Za-z0-9_-][A-Za-z0-9._-]{0,248}|[.][A-Za-z0-9_-][A-Za-z0-9._-]{0,247}|[.][.][A-Za-z0-9._-]{1,247})$"
    )]
    queue: String,
}

/// Is the queue in a URL; named as topics are.
pub(super) struct QueuePath(pub(super) TopicName);

/// Is the agent in a URL.
pub(super) struct AgentPath(pub(super) AgentId);

/// Is what a URL names, as axum's own; but what is wrong with it is told as all refusals are.
pub(super) struct UrlPath<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for UrlPath<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(named)) => Ok(Self(named)),
            Err(error) => Err(Failure::new(400, "invalid-url", error.to_string())),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for TopicPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let name = segment(parts, state).await?;
        topic_name(&name).map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for QueuePath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let name = segment(parts, state).await?;
        TopicName::new(&name).map(Self).map_err(|error| Failure::new(400, "invalid-queue", error.to_string()))
    }
}

/// Checks a topic's name.
pub(super) fn topic_name(name: &str) -> Result<TopicName, Failure> {
    TopicName::new(name).map_err(|error| Failure::new(400, "invalid-topic", error.to_string()))
}

impl<S: Send + Sync> FromRequestParts<S> for AgentPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let id = segment(parts, state).await?;
        AgentId::new(&id).map(Self).map_err(|error| Failure::new(400, "invalid-agent", error.to_string()))
    }
}

async fn segment<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<String, Failure> {
    UrlPath::<String>::from_request_parts(parts, state).await.map(|UrlPath(segment)| segment)
}
