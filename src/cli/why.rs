//! `trayvault why`, and `trayvault who-can`.

use clap::{Args, Subcommand};
use hyper::Method;
use serde::{Deserialize, Serialize};

use super::{Code, Connected, Failure, api, output};
use crate::{
    authentication::AuthenticationId,
    percent,
    policy::{Access, AccessExplanation, AccessStep, Effect, PullExplanation, Step},
    system::accounts,
};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Why an authentication is pulled in full, or is not
    Pull(About),
    /// Why a caller may read an authentication, or may not
    Read(ReadArguments),
}

#[derive(Args)]
pub(super) struct About {
    #[command(flatten)]
    connected: Connected,
    /// The authentication's id
    id: AuthenticationId,
    /// Print the daemon's answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct ReadArguments {
    /// Who: a user (name or number), a systemd unit, or a user in a unit, as USER:UNIT
    caller: String,
    #[command(flatten)]
    about: About,
    /// Only this value: a JSON pointer such as /credentials/accessToken
    #[arg(long, value_name = "POINTER")]
    field: Option<String>,
    /// The name of the caller's program, by which the workflow guard may know it
    #[arg(long, value_name = "NAME")]
    process: Option<String>,
}

/// The daemon's answers.
#[derive(Serialize, Deserialize)]
struct Why<Explanation> {
    id: AuthenticationId,
    state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    needs_scopes: Option<bool>,
    #[serde(flatten)]
    explanation: Explanation,
}

#[derive(Serialize, Deserialize)]
struct WhoCan {
    id: AuthenticationId,
    rules: Vec<Access>,
    workflow_guard: Guard,
}

#[derive(Serialize, Deserialize)]
struct Guard {
    users: Vec<String>,
    units: Vec<String>,
    processes: Vec<String>,
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Pull(about) => {
            let why = ask(about, "pull")?;
            if about.json { output::json(&why) } else { print_pull(&why) }
        }
        Command::Read(arguments) => {
            let about = &arguments.about;
            let why = ask(about, &format!("access?{}", supposed(arguments)?))?;
            if about.json { output::json(&why) } else { print_read(&why) }
        }
    }
}

pub(super) fn who_can(about: &About) -> Result<(), Failure> {
    let who: WhoCan = ask(about, "who-can")?;
    if about.json { output::json(&who) } else { print_who(&who) }
}

fn ask<T: serde::de::DeserializeOwned>(about: &About, what: &str) -> Result<T, Failure> {
    api::ask(&about.connected, Method::GET, &format!("/v1/authentications/{}/{what}", about.id))
}

/// The caller, as a query.
fn supposed(arguments: &ReadArguments) -> Result<String, Failure> {
    let ReadArguments { caller, field, process, .. } = arguments;
    let is_unit = |text: &str| [".service", ".scope"].iter().any(|suffix| text.ends_with(suffix));
    let (user, unit) = match caller.split_once(':') {
        Some((user, unit)) => (Some(user), Some(unit)),
        None if is_unit(caller) => (None, Some(caller.as_str())),
        None => (Some(caller.as_str()), None),
    };
    let uid = user.map(|user| {
        accounts::uid(user).ok_or_else(|| {
            Failure::new(Code::Data, "this system does not know the user")
                .hint("a caller is a user, a unit such as billing.service, or USER:UNIT".to_owned())
        })
    });
    let uid = uid.transpose()?;
    let gids = uid.map(|uid| accounts::groups(uid).iter().map(u32::to_string).collect::<Vec<_>>().join(","));
    let given = [
        ("uid", uid.map(|uid| uid.to_string())),
        ("gids", gids),
        ("unit", unit.map(str::to_owned)),
        ("process", process.clone()),
        ("field", field.clone()),
    ];
    let query = given.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", percent::encode(&value?))));
    Ok(query.collect::<Vec<_>>().join("&"))
}

fn print_pull(why: &Why<PullExplanation>) -> Result<(), Failure> {
    let PullExplanation { permitted, rule, steps } = &why.explanation;
    let decision = if *permitted { "pulled in full" } else { "not pulled: only its metadata is kept" };
    let by = rule.as_ref().map_or_else(|| "no rule of [pull] names it".to_owned(), |rule| format!("by rule {rule:?}"));
    output::line(&format!("{decision}, {by}; its state is {}", why.state.replace('_', " ")))?;
    if why.needs_scopes == Some(true) {
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
        table.add([rule, effect, &outcome(misses.as_deref(), "decides")]);
    }
    output::line("")?;
    table.print()
}

fn print_read(why: &Why<AccessExplanation>) -> Result<(), Failure> {
    let AccessExplanation { granted, rule, reason, steps } = &why.explanation;
    let because = match (rule, reason) {
        (Some(rule), _) => format!("by rule {rule:?}"),
        (None, reason) => reason.clone().unwrap_or_default(),
    };
    let decision = if *granted { "granted" } else { "refused" };
    output::line(&format!("{decision}: {because}; its state is {}", why.state.replace('_', " ")))?;
    if steps.is_empty() {
        return Ok(());
    }
    let mut table = output::Rows::new(["rule", "outcome"]);
    for AccessStep { rule, misses } in steps {
        table.add([rule, &outcome(misses.as_deref(), "grants it")]);
    }
    output::line("")?;
    table.print()
}

fn outcome(misses: Option<&str>, matches: &str) -> String {
    misses.map_or_else(|| matches.to_owned(), |list| format!("does not match: {list}"))
}

fn print_who(who: &WhoCan) -> Result<(), Failure> {
    if who.rules.is_empty() {
        output::line("nobody: no rule of [access] is about it")?;
    } else {
        let mut table = output::Rows::new(["rule", "who", "may", "fields", "rate"]);
        for access in &who.rules {
            let grants: Vec<_> = access.grants.iter().map(|grant| grant.as_str()).collect();
            let fields = access.fields.as_ref().map_or_else(|| "all".to_owned(), |fields| fields.join("\n"));
            let rate = access.rate.as_deref().unwrap_or("-");
            table.add([&access.rule, &names(access), &grants.join(", "), &fields, rate]);
        }
        table.print()?;
    }
    let Guard { users, units, processes } = &who.workflow_guard;
    let guarded = [("users", users), ("units", units), ("processes", processes)]
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(kind, names)| format!("{kind} {}", names.join(", ")))
        .collect::<Vec<_>>();
    if guarded.is_empty() {
        return Ok(());
    }
    output::line("")?;
    output::line(&format!("never a secret, whatever a rule says: {}", guarded.join("; ")))
}

/// Whom a rule names: one of its users and groups, in one of its units.
fn names(access: &Access) -> String {
    let listed = |kind: &str, names: &[String]| (!names.is_empty()).then(|| format!("{kind} {}", names.join(", ")));
    let accounts: Vec<_> =
        [listed("user", &access.users), listed("group", &access.groups)].into_iter().flatten().collect();
    match (accounts.join(" or "), listed("unit", &access.units)) {
        (accounts, None) => accounts,
        (accounts, Some(units)) if accounts.is_empty() => units,
        (accounts, Some(units)) => format!("{accounts}, in {units}"),
    }
}
