//! `trayvault list`.

use clap::Args;
use hyper::Method;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Code, Connected, Failure, api, output};
use crate::{
    authentication::{AuthenticationId, Metadata},
    percent,
};

/// The most that the daemon puts on a page.
const PAGE: &str = "1000";

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
    /// Only those for this service environment, by its title
    #[arg(long, value_name = "TITLE")]
    environment: Option<String>,
    /// Only those in this state, such as full or not_enabled
    #[arg(long)]
    state: Option<String>,
    /// Print them as JSON
    #[arg(long)]
    json: bool,
}

/// The pages of the daemon's answer, one after the other.
#[derive(Default, Serialize, Deserialize)]
struct List {
    authentications: Vec<Value>,
    damaged: Vec<AuthenticationId>,
}

#[derive(Deserialize)]
struct Page {
    #[serde(flatten)]
    list: List,
    next: Option<AuthenticationId>,
}

#[derive(Deserialize)]
struct Shown {
    #[serde(flatten)]
    metadata: Metadata,
    state: String,
    fetched_at: Option<Timestamp>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let list = ask(arguments)?;
    if arguments.json {
        output::json(&list)?;
    } else {
        let shown = list.authentications.iter().map(Shown::deserialize).collect::<Result<Vec<_>, _>>();
        print(&shown.map_err(|_| api::incomprehensible())?, Timestamp::now())?;
    }
    match list.damaged.len() {
        0 => Ok(()),
        count => Err(Failure::new(Code::Data, format!("{count} records are damaged and not shown"))),
    }
}

/// Every page. What comes or goes meanwhile is in them or not.
fn ask(arguments: &Arguments) -> Result<List, Failure> {
    let Arguments { owner, service, environment, state, .. } = arguments;
    let given = [("owner", owner), ("service", service), ("environment", environment), ("state", state)];
    let given = given.into_iter().filter_map(|(key, value)| Some((key, value.clone()?)));
    let mut query: Vec<_> = std::iter::once(("limit", PAGE.to_owned())).chain(given).collect();
    let mut list = List::default();
    loop {
        let text: Vec<_> = query.iter().map(|(key, value)| format!("{key}={}", percent::encode(value))).collect();
        let path = format!("/v1/authentications?{}", text.join("&"));
        let page: Page = api::ask(&arguments.connected, Method::GET, &path)?;
        list.authentications.extend(page.list.authentications);
        list.damaged.extend(page.list.damaged);
        let Some(next) = page.next else { return Ok(list) };
        query.retain(|(key, _)| *key != "after");
        query.push(("after", next.to_string()));
    }
}

fn print(list: &[Shown], now: Timestamp) -> Result<(), Failure> {
    let mut shown: Vec<_> = list.iter().map(|one| (owner(one), service(one), one)).collect();
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
