//! `trayvault audit export`.

use clap::Args;

use super::{Failure, filter::Filter, verified};
use crate::{
    audit::Record,
    cli::{Configured, init, output},
    config::Config,
};

#[derive(Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    configured: Configured,
    #[command(flatten)]
    filter: Filter,
    /// As comma-separated values (RFC 4180), with a header
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// As JSON, an object a line; the default
    #[arg(long)]
    json: bool,
}

const HEADER: &str =
    "seq,time,action,outcome,reason,rule,uid,gid,unit,authentication,owner,name,intent,request,count\r";

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = Config::load(&arguments.configured.config).map_err(|error| init::failure(&error.into()))?;
    if arguments.csv {
        output::line(HEADER)?;
    }
    verified(&config, |record| match arguments.filter.wants(&record) {
        true if arguments.csv => output::line(&row(&record)),
        true => output::line(&serde_json::to_string(&record).map_err(std::io::Error::from)?),
        false => Ok(()),
    })
}

fn row(record: &Record) -> String {
    let by = record.actor.as_ref();
    let number = |number: Option<u64>| number.map(|number| number.to_string());
    let fields = [
        Some(record.seq.to_string()),
        Some(record.time.to_string()),
        Some(record.action.clone()),
        Some(record.outcome.clone()),
        record.reason.clone(),
        record.rule.clone(),
        number(by.map(|by| by.uid.into())),
        number(by.map(|by| by.gid.into())),
        by.and_then(|by| by.unit.clone()),
        record.authentication.clone(),
        record.owner.clone(),
        record.name.clone(),
        record.intent.clone(),
        record.request.clone(),
        number(record.count),
    ];
    fields.map(|field| quoted(field.as_deref().unwrap_or_default())).join(",") + "\r"
}

/// A field, in quotes where it has to be. A rule may be called anything, and a spreadsheet takes what begins so for a formula.
fn quoted(field: &str) -> String {
    let field =
        if field.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{field}") } else { field.to_owned() };
    if field.contains([',', '"', '\r', '\n']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field }
}
