//! `trayvault audit report`: who read an authentication.

use std::collections::BTreeMap;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::{Failure, filter::time, verified};
use crate::{
    audit::{By, Record},
    authentication::AuthenticationId,
    cli::{Configured, init, output, output::Rows},
    config::Config,
    system::accounts,
};

#[derive(Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    configured: Configured,
    /// Of which authentication
    #[arg(long, value_name = "ID")]
    authentication: AuthenticationId,
    /// From this time on: RFC 3339, or a span before now, such as 24h
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

/// What gives, or would have given, a secret to a caller.
const READS: [&str; 4] = ["authentication.read", "credential.load", "ingest.open", "authentication.refresh"];

/// One caller's reads under one rule, with one outcome.
#[derive(Serialize)]
struct Reads {
    caller: Option<By>,
    action: String,
    outcome: String,
    rule: Option<String>,
    count: u64,
    first: Timestamp,
    last: Timestamp,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = Config::load(&arguments.configured.config).map_err(|error| init::failure(&error.into()))?;
    let (id, mut reads) = (arguments.authentication.to_string(), BTreeMap::new());
    let all = verified(&config, |record| {
        let is_wanted = record.authentication.as_deref() == Some(&id)
            && READS.contains(&record.action.as_str())
            && record.outcome != "begun"
            && arguments.since.is_none_or(|since| record.time >= since);
        if is_wanted {
            add(&mut reads, record);
        }
        Ok(())
    });
    let reads: Vec<_> = reads.into_values().collect();
    if arguments.json {
        output::json(&reads)?;
    } else {
        print(&reads)?;
    }
    // What is printed is verified all the same.
    all
}

type Key = (Option<(u32, Option<String>)>, String, String, Option<String>);

fn add(reads: &mut BTreeMap<Key, Reads>, record: Record) {
    let Record { time, action, outcome, rule, actor, .. } = record;
    let by = actor.as_ref().map(|by| (by.uid, by.unit.clone()));
    let one = reads.entry((by, action.clone(), outcome.clone(), rule.clone())).or_insert_with(|| Reads {
        caller: actor,
        action,
        outcome,
        rule,
        count: 0,
        first: time,
        last: time,
    });
    one.count += 1;
    one.last = one.last.max(time);
}

fn print(reads: &[Reads]) -> Result<(), Failure> {
    if reads.is_empty() {
        return output::line("nobody asked for it");
    }
    let mut rows = Rows::new(["CALLER", "DID", "TIMES", "FIRST", "LAST", "RULE"]);
    for read in reads {
        let Reads { caller, action, outcome, rule, count, first, last } = read;
        let user = |uid| accounts::name(uid).unwrap_or_else(|| uid.to_string());
        let caller = match caller {
            Some(By { uid, unit: Some(unit), .. }) => format!("{} in {unit}", user(*uid)),
            Some(By { uid, .. }) => user(*uid),
            None => "-".to_owned(),
        };
        let did = format!("{action} {outcome}");
        let [first, last] = [first, last].map(|time| time.strftime("%Y-%m-%d %H:%MZ").to_string());
        rows.add([&caller, &did, &count.to_string(), &first, &last, rule.as_deref().unwrap_or("-")]);
    }
    rows.keep_whole(&[2, 3, 4]);
    rows.print()
}
