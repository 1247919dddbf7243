//! `trayvault why`.

use clap::{Args, Subcommand};
use hyper::Method;
use serde::{Deserialize, Serialize};

use super::{Connected, Failure, api, output};
use crate::{
    authentication::AuthenticationId,
    policy::{Effect, PullExplanation, Step},
};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Why an authentication is pulled in full, or is not
    Pull(Arguments),
}

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    connected: Connected,
    /// The authentication's id
    id: AuthenticationId,
    /// Print the daemon's answer as JSON
    #[arg(long)]
    json: bool,
}

/// The daemon's answer.
#[derive(Serialize, Deserialize)]
struct Why {
    id: AuthenticationId,
    state: String,
    needs_scopes: bool,
    #[serde(flatten)]
    explanation: PullExplanation,
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    let Command::Pull(arguments) = command;
    let path = format!("/v1/authentications/{}/pull", arguments.id);
    let why: Why = api::ask(&arguments.connected, Method::GET, &path)?;
    if arguments.json { output::json(&why) } else { print(&why) }
}

fn print(why: &Why) -> Result<(), Failure> {
    let PullExplanation { permitted, rule, steps } = &why.explanation;
    let decision = if *permitted { "pulled in full" } else { "not pulled: only its metadata is kept" };
    let by = rule.as_ref().map_or_else(|| "no rule of [pull] names it".to_owned(), |rule| format!("by rule {rule:?}"));
    output::line(&format!("{decision}, {by}; its state is {}", why.state.replace('_', " ")))?;
    if why.needs_scopes {
        output::line("its scopes are not known yet: the next synchronisation asks for them")?;
    }
    if steps.is_empty() {
        return Ok(());
    }
    let mut table = output::Rows::new(["rule", "effect", "outcome"]);
    for Step { rule, effect, misses } in steps {
        let effect = match effect {
            Effect::Allow => "allow",
            Effect::Deny => "deny",
        };
        let outcome = misses.as_ref().map_or_else(|| "decides".to_owned(), |list| format!("does not match: {list}"));
        table.add([rule, effect, &outcome]);
    }
    output::line("")?;
    table.print()
}
