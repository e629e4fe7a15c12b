//! The ECS agent's introspection API.
//!
//! Source: aws/amazon-ecs-agent `ecs-agent/introspection/v1`. It names tasks, containers and ports; no health, no
//! labels, no network mode.

use axum::body::{Body, Bytes};
use axum::http::{Request, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::docker;
use super::serve::{query, respond};
use super::state::Shared;

/// A task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[expect(missing_docs, reason = "the names are those of the answer")]
pub struct Task {
    pub arn: String,
    pub desired_status: String,
    pub known_status: String,
    pub family: String,
    pub version: String,
    pub containers: Vec<Container>,
}

/// One of its containers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[expect(missing_docs, reason = "the names are those of the answer")]
pub struct Container {
    pub docker_id: String,
    pub docker_name: String,
    pub name: String,
    pub image: String,
    #[serde(rename = "ImageID")]
    pub image_id: String,
    pub created_at: String,
    pub started_at: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Network>,
}

/// A port that Docker binds, or that the task definition names where Docker binds none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[expect(missing_docs, reason = "the names are those of the answer")]
pub struct Port {
    pub container_port: u16,
    pub protocol: String,
    pub host_port: u16,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host_ip: String,
}

/// An ENI; only tasks in awsvpc mode have one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[expect(missing_docs, reason = "the names are those of the answer")]
pub struct Network {
    pub network_mode: String,
    #[serde(rename = "IPv4Addresses")]
    pub ipv4_addresses: Vec<String>,
}

/// Answers one request.
pub(super) async fn answer(request: &Request<Bytes>, state: &Shared) -> Response<Body> {
    if request.method() != "GET" {
        return respond(405, None, Body::empty());
    }
    match request.uri().path() {
        "/v1/metadata" => metadata(state),
        "/v1/tasks" => tasks(request, state).await,
        _ => respond(404, None, Body::empty()),
    }
}

fn metadata(state: &Shared) -> Response<Body> {
    let settings = state.lock().store.by_keys("settings.ecs.cluster").unwrap_or_default();
    let cluster = settings.pointer("/ecs/cluster").and_then(|cluster| cluster.as_str()).unwrap_or("default").to_owned();
    let region = state.lock().instance.region.clone();
    let arn = format!("arn:aws:ecs:{region}:123456789012:container-instance/{cluster}/{:032x}", 1);
    json_of(200, &json!({"Cluster": cluster, "ContainerInstanceArn": arn, "Version": "Amazon ECS Agent - v1.86.3"}))
}

async fn tasks(request: &Request<Bytes>, state: &Shared) -> Response<Body> {
    let (mut tasks, docker) = {
        let state = state.lock();
        (state.tasks.clone(), state.docker.clone())
    };
    if let Some(socket) = docker {
        match docker::tasks(&socket).await {
            Ok(found) => tasks.extend(found),
            Err(error) => return respond(500, None, error.to_string()),
        }
    }
    let query = query(request);
    let of_container = |id: &String| {
        let has = |task: &Task| {
            let short = id.len() >= 12;
            task.containers.iter().any(|c| c.docker_id == *id || (short && c.docker_id.starts_with(id.as_str())))
        };
        tasks.iter().find(|task| has(task))
    };
    let found = match (query.get("dockerid"), query.get("taskarn")) {
        (None, None) => return json_of(200, &json!({ "Tasks": tasks })),
        (Some(_), Some(_)) => return respond(400, None, Body::empty()),
        (Some(id), None) => of_container(id),
        (None, Some(arn)) => tasks.iter().find(|task| task.arn == *arn),
    };
    match found {
        Some(task) => json_of(200, task),
        None => respond(404, None, Body::empty()),
    }
}

fn json_of(status: u16, value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(body) => respond(status, Some("application/json"), body),
        Err(error) => respond(500, None, error.to_string()),
    }
}
