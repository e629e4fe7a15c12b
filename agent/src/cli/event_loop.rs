//! The event loop that a command runs on.

use super::error::Error;

/// Runs a command that waits for something to its end, on this thread.
pub(super) fn block_on<T, E>(command: impl Future<Output = Result<T, E>>) -> Result<T, Error>
where
    Error: From<E>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(Error::Runtime)?.block_on(command)?)
}

/// Runs the agent to its end, on two threads: one is free while the other handles a large change.
pub(super) fn block_on_threads<T, E>(agent: impl Future<Output = Result<T, E>>) -> Result<T, Error>
where
    Error: From<E>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(Error::Runtime)?;
    let ended = runtime.block_on(agent);
    // The parts were joined; what did not end within their bound is not waited for again.
    runtime.shutdown_background();
    Ok(ended?)
}
