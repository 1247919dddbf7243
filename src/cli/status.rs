//! `trayvault status`.

use std::fmt::Write as _;

use clap::Args;
use hyper::Method;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Connected, Failure, api, output};
use crate::status::{CycleReport, Posted, Problem, Resealing};

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    connected: Connected,
    /// Print the daemon's answer as JSON
    #[arg(long)]
    json: bool,
}

/// The daemon's answer.
#[derive(Serialize, Deserialize)]
struct Status {
    version: String,
    vault: String,
    epoch: Option<u32>,
    authentications: Counts,
    #[serde(flatten)]
    posted: Posted,
}

#[derive(Serialize, Deserialize)]
struct Counts {
    full: u64,
    pending: u64,
    not_permitted: u64,
    not_enabled: u64,
    gone: u64,
    damaged: u64,
    users: u64,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let status: Status = api::ask(&arguments.connected, Method::GET, "/v1/status")?;
    if arguments.json { output::json(&status) } else { print(&status, Timestamp::now()) }
}

fn print(status: &Status, now: Timestamp) -> Result<(), Failure> {
    let Counts { full, pending, not_permitted, not_enabled, gone, damaged, users } = &status.authentications;
    let Posted { started_at, sync, ingest, resealing, problems } = &status.posted;
    let mut table = output::Rows::new(["what", "how it stands"]);
    table.add(["daemon", &format!("version {}, up since {started_at:.0}", status.version)]);
    let epoch = status.epoch.map(|epoch| format!(", epoch {epoch}")).unwrap_or_default();
    let resealing = resealing.map(|Resealing { done, total }| format!(", {done} of {total} records re-sealed"));
    table.add(["vault", &format!("{}{epoch}{}", status.vault, resealing.unwrap_or_default())]);
    table.add(["end users", &users.to_string()]);
    let damaged = if *damaged > 0 { format!(", {damaged} damaged") } else { String::new() };
    table.add([
        "authentications",
        &format!(
            "{full} held in full, {not_permitted} not permitted, {not_enabled} not enabled, {pending} pending, {gone} \
             gone{damaged}"
        ),
    ]);
    let last = sync.last.as_ref().map_or_else(
        || "none yet".to_owned(),
        |last| format!("{}: {}", output::relative(Some(last.ended_at), now), describe(last)),
    );
    let next = if sync.running { "under way".to_owned() } else { output::relative(sync.next_at, now) };
    table.add(["last synchronisation", &last]);
    table.add(["next synchronisation", &next]);
    table.add([
        "drop directory",
        &format!(
            "{} accepted, {} rejected, {} pending, {} held",
            ingest.accepted, ingest.rejected, ingest.pending, ingest.held
        ),
    ]);
    let problems = problems.iter().chain(sync.last.iter().flat_map(|last| &last.problems)).chain(&ingest.problems);
    for Problem { what, hint } in problems {
        let hint = hint.as_ref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
        table.add(["problem", &format!("{what}{hint}")]);
    }
    table.print()
}

/// One cycle in a line.
pub(super) fn describe(report: &CycleReport) -> String {
    let CycleReport { principals, listed, pulled, not_permitted, gone, failed, .. } = report;
    let mut text = format!("{listed} listed (owners: {principals}), {pulled} pulled");
    for (count, what) in [(not_permitted, "not permitted"), (gone, "gone"), (failed, "failed")] {
        if *count > 0 {
            // Writing to a String can't fail.
            let _ = write!(text, ", {count} {what}");
        }
    }
    text
}
