//! `apiclient raw`: one request to the host API, with a real one's options and words.
//!
//! Source: core-kit `sources/api/apiclient/src/main.rs`; what it prints was recorded from v1.20.5.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request};
use clap::Parser;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// Makes an HTTP request and prints the response on stdout.
#[derive(Debug, Parser)]
struct Arguments {
    /// `raw`, which is all that this one knows.
    #[arg(value_parser = ["raw"])]
    command: String,
    /// The server's socket.
    #[arg(short, long, default_value = "/run/api.sock")]
    socket_path: PathBuf,
    /// What is requested.
    #[arg(short, long)]
    uri: String,
    /// How.
    #[arg(short, short_alias = 'X', long, default_value = "GET")]
    method: Method,
    /// The request's body.
    #[arg(short, long, default_value = "")]
    data: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match raw(&arguments).await {
        Ok(body) => io::stdout().write_all(body.as_bytes()).map(|()| ExitCode::SUCCESS),
        Err(error) => {
            let Arguments { method, uri, .. } = &arguments;
            writeln!(io::stderr(), "Failed {method} request to '{uri}': {error:#}").map(|()| ExitCode::FAILURE)
        }
    };
    done.unwrap_or(ExitCode::FAILURE)
}

async fn raw(arguments: &Arguments) -> anyhow::Result<String> {
    let Arguments { socket_path, uri, method, data, .. } = arguments;
    let stream = UnixStream::connect(socket_path).await.with_context(|| socket_path.display().to_string())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Body::from(data.clone()))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = to_bytes(Body::new(response.into_body()), MAX_ANSWER).await?;
    connection.abort();
    let body = String::from_utf8_lossy(&body).into_owned();
    if !status.is_success() {
        bail!("Status {} when {method}ing {uri}: {body}", status.as_u16());
    }
    Ok(body)
}
