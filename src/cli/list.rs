//! `trayvault list`.

use clap::Args;
use hyper::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{Code, Connected, Failure, api, output};
use crate::{
    authentication::{AuthenticationId, Metadata},
    percent,
};

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    connected: Connected,
    /// Only those of this end user
    #[arg(long, value_name = "EXTERNAL_USER_ID")]
    owner: Option<String>,
    /// Only those for this service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Print the daemon's answer as JSON
    #[arg(long)]
    json: bool,
}

/// The daemon's answer.
#[derive(Deserialize)]
struct List {
    authentications: Vec<Shown>,
    damaged: Vec<AuthenticationId>,
}

#[derive(Deserialize)]
struct Shown {
    #[serde(flatten)]
    metadata: Metadata,
    state: String,
    fetched_at: Option<Timestamp>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let given = [("owner", &arguments.owner), ("service", &arguments.service)];
    let query: Vec<_> = given
        .into_iter()
        .filter_map(|(key, value)| Some(format!("{key}={}", percent::encode(value.as_deref()?))))
        .collect();
    let answer: Value =
        api::ask(&arguments.connected, Method::GET, &format!("/v1/authentications?{}", query.join("&")))?;
    if arguments.json {
        output::json(&answer)?;
    }
    let list = List::deserialize(answer).map_err(|_| api::incomprehensible())?;
    if !arguments.json {
        print(&list, Timestamp::now())?;
    }
    match list.damaged.len() {
        0 => Ok(()),
        count => Err(Failure::new(Code::Data, format!("{count} records are damaged and not shown"))),
    }
}

fn print(list: &List, now: Timestamp) -> Result<(), Failure> {
    let mut shown: Vec<_> = list.authentications.iter().map(|one| (owner(one), service(one), one)).collect();
    shown.sort_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
    if shown.is_empty() {
        return output::line("no authentications");
    }
    let mut table = output::Rows::new(["id", "owner", "service", "state", "age"]);
    table.keep_whole(&[0, 3, 4]);
    for (owner, service, one) in shown {
        let Shown { metadata, state, fetched_at } = one;
        let age = output::age(*fetched_at, now);
        let state = state.replace('_', " ");
        table.add([&metadata.id.to_string(), owner, &service, &state, &age]);
    }
    table.print()
}

fn owner(shown: &Shown) -> &str {
    shown.metadata.owner.external_user_id().unwrap_or("workspace")
}

/// The service; with the environment, unless that is the one that every service has.
fn service(shown: &Shown) -> String {
    let name = shown.metadata.service.as_ref().map_or("-", |service| service.name.as_str());
    match &shown.metadata.environment {
        Some(environment) if environment.title != "Production" => format!("{name} ({})", environment.title),
        _ => name.to_owned(),
    }
}
