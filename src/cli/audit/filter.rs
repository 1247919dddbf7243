//! Which entries are wanted.

use clap::Args;
use jiff::{SignedDuration, Timestamp};

use crate::{audit::Record, authentication::AuthenticationId, policy::Glob, system::accounts};

#[derive(Args)]
pub(super) struct Filter {
    /// Only what this caller asked for: a user's name or number, or a systemd unit such as billing@*.service
    #[arg(long, value_name = "USER|UNIT")]
    caller: Option<Glob>,
    /// Only what was done to this authentication
    #[arg(long, value_name = "ID")]
    authentication: Option<AuthenticationId>,
    /// Only this action, such as authentication.read, or all of a kind, such as key.*
    #[arg(long)]
    action: Option<Glob>,
    /// Only with this outcome: begun, done, refused or failed
    #[arg(long, value_parser = ["begun", "done", "refused", "failed"])]
    outcome: Option<String>,
    /// Only from this time on: RFC 3339, or a span before now, such as 24h
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Only before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
}

impl Filter {
    pub(super) fn wants(&self, record: &Record) -> bool {
        let Self { caller, authentication, action, outcome, since, until } = self;
        caller.as_ref().is_none_or(|caller| is_by(record, caller))
            && authentication.is_none_or(|id| record.authentication.as_deref() == Some(&id.to_string()))
            && action.as_ref().is_none_or(|action| action.matches(&record.action))
            && outcome.as_ref().is_none_or(|outcome| *outcome == record.outcome)
            && since.is_none_or(|since| record.time >= since)
            && until.is_none_or(|until| record.time < until)
    }
}

fn is_by(record: &Record, caller: &Glob) -> bool {
    let Some(by) = &record.actor else { return false };
    accounts::uid(caller.as_str()) == Some(by.uid) || by.unit.as_deref().is_some_and(|unit| caller.matches(unit))
}

/// A time, or a span before now.
pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    let wrong = || "neither a time such as 2026-11-24T12:00:00Z nor a span before now such as 24h".to_owned();
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let span: SignedDuration = text.parse().map_err(|_| wrong())?;
    Timestamp::now().checked_sub(span).map_err(|_| wrong())
}
