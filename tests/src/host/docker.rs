//! ECS tasks derived from what dockerd runs: every container that carries the ECS agent's labels.
//!
//! On a real host the agent knows the ports of a container without bindings from its task definition. Here the label
//! `simhost.ports` stands for that (`8080/tcp`, comma-separated), else what the image exposes.
//! Labels: aws/amazon-ecs-agent `agent/engine/docker_task_engine.go`.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::ListContainersOptionsBuilder;
use bollard::{API_DEFAULT_VERSION, Docker};

use super::introspection::{Container, Port, Task};

const TASK: &str = "com.amazonaws.ecs.task-arn";
const NAME: &str = "com.amazonaws.ecs.container-name";
const FAMILY: &str = "com.amazonaws.ecs.task-definition-family";
const VERSION: &str = "com.amazonaws.ecs.task-definition-version";
const PORTS: &str = "simhost.ports";

/// How long dockerd may take over an answer, in seconds.
const TIMEOUT: u64 = 5;

/// The tasks that run.
///
/// # Errors
/// dockerd does not answer.
pub async fn tasks(socket: &Path) -> Result<Vec<Task>, bollard::errors::Error> {
    let docker = Docker::connect_with_unix(&socket.to_string_lossy(), TIMEOUT, API_DEFAULT_VERSION)?;
    let labelled = HashMap::from([("label", vec![TASK])]);
    let options = ListContainersOptionsBuilder::new().filters(&labelled).build();
    let mut tasks = BTreeMap::<String, Task>::new();
    for summary in docker.list_containers(Some(options)).await? {
        // A container that is gone by now is no task's.
        let Ok(found) = docker.inspect_container(&summary.id.unwrap_or_default(), None).await else { continue };
        let Some((task, container)) = read(found) else { continue };
        tasks.entry(task.arn.clone()).or_insert(task).containers.push(container);
    }
    Ok(tasks.into_values().collect())
}

/// A container, and its task without containers. None for what the agent keeps to itself (pause containers).
fn read(found: ContainerInspectResponse) -> Option<(Task, Container)> {
    let config = found.config?;
    let labels = config.labels.unwrap_or_default();
    let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
    let name = label(NAME);
    if name.starts_with("~internal~") {
        return None;
    }
    let bound = found.network_settings.and_then(|settings| settings.ports).unwrap_or_default();
    let mut ports: Vec<Port> = bound
        .into_iter()
        .flat_map(|(port, bindings)| bindings.unwrap_or_default().into_iter().map(move |to| (port.clone(), to)))
        .filter_map(|(port, to)| {
            let host_port = to.host_port.and_then(|port| port.parse().ok())?;
            Some(Port { host_port, host_ip: to.host_ip.unwrap_or_default(), ..parse(&port)? })
        })
        .collect();
    if ports.is_empty() {
        ports = match labels.get(PORTS) {
            Some(ports) => ports.split(',').filter_map(|port| parse(port.trim())).collect(),
            None => config.exposed_ports.unwrap_or_default().iter().filter_map(|port| parse(port)).collect(),
        };
    }
    let running = "RUNNING".to_owned();
    let task = Task {
        arn: label(TASK),
        desired_status: running.clone(),
        known_status: running,
        family: label(FAMILY),
        version: label(VERSION),
        containers: Vec::new(),
    };
    let container = Container {
        docker_id: found.id.unwrap_or_default(),
        docker_name: found.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        name,
        image: config.image.unwrap_or_default(),
        image_id: found.image.unwrap_or_default(),
        created_at: found.created.map(|at| at.to_string()).unwrap_or_default(),
        started_at: found.state.and_then(|state| state.started_at).map(|at| at.to_string()).unwrap_or_default(),
        ports,
        networks: Vec::new(),
    };
    Some((task, container))
}

/// `8080/tcp`, the same on the host.
fn parse(port: &str) -> Option<Port> {
    let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
    let number = number.parse().ok()?;
    Some(Port { container_port: number, host_port: number, protocol: protocol.to_owned(), host_ip: String::new() })
}

#[cfg(test)]
mod tests;
