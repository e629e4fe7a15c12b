//! The one program in the containers under test. See `meshdog_tests::testbox`.

use clap::Parser;
use meshdog_tests::testbox::{Stop, dial::Dial, report, resolve::Resolve, resolver::Resolver, serve::Serve};

#[derive(Parser)]
#[command(name = "testbox")]
enum Command {
    /// Answer who this is and who asked.
    Serve(Serve),
    /// Call again and again, and count who answered.
    Dial(Dial),
    /// Ask a nameserver again and again.
    Resolve(Resolve),
    /// Be the resolver of the world outside.
    Resolver(Resolver),
}

fn main() -> anyhow::Result<()> {
    let command = Command::parse();
    let stop = Stop::on_signal()?;
    match command {
        Command::Serve(serve) => report(&serve.run(&stop)?)?,
        Command::Dial(dial) => report(&dial.run(&stop)?)?,
        Command::Resolve(resolve) => report(&resolve.run(&stop)?)?,
        Command::Resolver(resolver) => resolver.run(&stop)?,
    }
    Ok(())
}
