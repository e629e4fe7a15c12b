//! The one program in the containers under test. See `meshdog_tests::testbox`.

use clap::Parser;
use meshdog_tests::testbox::ask::Ask;
use meshdog_tests::testbox::attack::Attack;
use meshdog_tests::testbox::scripted::Scripted;
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
    /// Ask a name server every kind of question.
    Ask(Ask),
    /// Be a bad neighbour.
    Attack(Attack),
    /// Be a DNS server whose answers tell the query.
    Scripted(Scripted),
}

fn main() -> anyhow::Result<()> {
    let command = Command::parse();
    let stop = Stop::on_signal()?;
    match command {
        Command::Serve(serve) => report(&serve.run(&stop)?)?,
        Command::Dial(dial) => {
            let strict = dial.strict;
            let calls = dial.run(&stop)?;
            report(&calls)?;
            anyhow::ensure!(!strict || calls.failed == 0, "{} calls failed", calls.failed);
        }
        Command::Resolve(resolve) => report(&resolve.run(&stop)?)?,
        Command::Resolver(resolver) => resolver.run(&stop)?,
        Command::Ask(ask) => report(&ask.run()?)?,
        Command::Attack(attack) => attack.run(&stop)?,
        Command::Scripted(scripted) => scripted.run(&stop)?,
    }
    Ok(())
}
