//! `trayvault ingest`: documents that are not finished, and rejected ones.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::{Args, Subcommand};
use hyper::Method;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Connected, Failure, api, output, seal};
use crate::{
    authentication::AuthenticationId,
    percent,
    requests::ingest::{IntentState, Settled, SettledAs, Unfinished},
    status::Problem,
    system::files,
};

#[derive(Subcommand)]
pub(super) enum Command {
    /// List the documents that are not finished, in order of arrival
    List(ListArguments),
    /// Show one of them by its id, or open a rejected one by its name
    Show(ShowArguments),
    /// It was not done: send it again
    Retry(OneArguments),
    /// It was done: this is the authentication that it became
    Adopt(AdoptArguments),
    /// It is not to be done: reject it
    Discard(OneArguments),
}

#[derive(Args)]
pub(super) struct ListArguments {
    #[command(flatten)]
    connected: Connected,
    /// Print the daemon's answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct ShowArguments {
    #[command(flatten)]
    connected: Connected,
    /// A document's id, as list shows it, or the name of a file in rejected/
    #[arg(value_name = "ID|NAME")]
    which: String,
    /// Of a rejected one: a new file to write it to, which nobody else may read
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Of one that is not finished: print the daemon's answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct OneArguments {
    #[command(flatten)]
    connected: Connected,
    /// The document's id, as list shows it
    id: Uuid,
    /// Print the daemon's answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct AdoptArguments {
    #[command(flatten)]
    one: OneArguments,
    /// The authentication's id
    #[arg(long, value_name = "ID")]
    authentication: AuthenticationId,
}

/// The daemon's answer.
#[derive(Serialize, Deserialize)]
struct List {
    documents: Vec<Unfinished>,
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::List(ListArguments { connected, json }) => {
            let list: List = api::ask(connected, Method::GET, "/v1/ingest")?;
            if *json { output::json(&list) } else { print_list(&list.documents, Timestamp::now()) }
        }
        Command::Show(arguments) => match arguments.which.parse::<Uuid>() {
            Ok(id) => show(arguments, id),
            Err(_) => open(arguments),
        },
        Command::Retry(one) => settle(one, "retry"),
        Command::Adopt(AdoptArguments { one, authentication }) => {
            settle(one, &format!("adopt?authentication={authentication}"))
        }
        Command::Discard(one) => settle(one, "discard"),
    }
}

fn print_list(documents: &[Unfinished], now: Timestamp) -> Result<(), Failure> {
    if documents.is_empty() {
        output::line("nothing is waiting")?;
        return output::line("what was done has its receipt in done/, what was refused its reason in rejected/");
    }
    let mut table = output::Rows::new(["id", "file", "action", "state", "age"]);
    table.keep_whole(&[0, 2, 3, 4]);
    for one in documents {
        let age = output::age(one.received_at, now);
        table.add([&one.intent.to_string(), &file(one), &one.action, state(one.state), &age]);
    }
    table.print()?;
    let held = documents.iter().filter(|one| one.state == IntentState::Held).count();
    if held > 0 {
        output::line("")?;
        output::line("a held one waits for you: it may have been done, and Tray's list can't tell.")?;
        output::line("trayvault ingest show ID says more; then adopt, retry or discard it")?;
    }
    Ok(())
}

fn show(arguments: &ShowArguments, id: Uuid) -> Result<(), Failure> {
    let one: Unfinished = api::ask(&arguments.connected, Method::GET, &format!("/v1/ingest/{id}"))?;
    if arguments.json {
        return output::json(&one);
    }
    let now = Timestamp::now();
    let mut table = output::Rows::new(["what", "how it stands"]);
    table.add(["id", &one.intent.to_string()]);
    table.add(["file", &file(&one)]);
    table.add(["action", &one.action]);
    table.add(["state", state(one.state)]);
    table.add(["owner", one.owner.as_deref().unwrap_or("-")]);
    if let Some(id) = one.authentication_id {
        table.add(["authentication", &id.to_string()]);
    }
    table.add(["received", &output::relative(one.received_at, now)]);
    table.add(["sent", &format!("{}, attempts: {}", output::relative(one.sent_at, now), one.attempts)]);
    for candidate in &one.candidates {
        table.add(["could be", &candidate.to_string()]);
    }
    if let Some(Problem { what, hint }) = &one.problem {
        let hint = hint.as_ref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
        table.add(["problem", &format!("{what}{hint}")]);
    }
    table.print()
}

/// The document itself, for whom policy lets read everything.
fn open(arguments: &ShowArguments) -> Result<(), Failure> {
    let path = format!("/v1/ingest/rejected/{}", percent::encode(&arguments.which));
    let content = api::ask_raw(&arguments.connected, Method::GET, &path)?;
    match &arguments.output {
        None => Ok(io::stdout().lock().write_all(content.expose_secret())?),
        Some(path) => {
            let written = files::create_new(path, content.expose_secret(), 0o600);
            written.map_err(|error| seal::cant_create(&error))?;
            output::line(&format!("wrote {}: it is in the clear", path.display()))
        }
    }
}

fn settle(OneArguments { connected, id, json }: &OneArguments, order: &str) -> Result<(), Failure> {
    let settled: Settled = api::ask(connected, Method::POST, &format!("/v1/ingest/{id}/{order}"))?;
    if *json {
        return output::json(&settled);
    }
    output::line(match settled.outcome {
        SettledAs::Queued => "it is on its way again",
        SettledAs::Adopted => "adopted: it has its receipt",
        SettledAs::Discarded => "discarded",
    })
}

/// The dropped file's name, with the line where there are many.
fn file(one: &Unfinished) -> String {
    // Whoever drops a file names it.
    let name = if one.file.is_empty() { "-".to_owned() } else { output::harmless(&one.file) };
    one.line.map_or_else(|| name.clone(), |line| format!("{name}:{line}"))
}

fn state(state: IntentState) -> &'static str {
    match state {
        IntentState::Journaled => "journaled",
        IntentState::Sent => "sent",
        IntentState::Acked => "acked",
        IntentState::Rejected => "rejected",
        IntentState::Held => "held",
        IntentState::Ended => "ended",
        IntentState::Damaged => "damaged",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_anybody_chose_says_nothing_to_the_terminal() {
        let one: Unfinished = serde_json::from_value(serde_json::json!({
            "intent": Uuid::nil(), "file": "\u{1b}]0;x\u{7}\n", "line": null, "action": "create", "state": "held",
            "received_at": null, "sent_at": null, "attempts": 0, "owner": null, "authentication_id": null,
            "candidates": [], "problem": null,
        }))
        .expect("one");
        assert!(!file(&one).contains(char::is_control), "{:?}", file(&one));
    }
}
