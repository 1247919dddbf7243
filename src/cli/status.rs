//! `trayvault status`.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal, Write as _},
    time::Duration,
};

use clap::Args;
use hyper::Method;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Connected, Failure, api, output};
use crate::{
    status::{CycleReport, Phase, Posted, Problem, Progress, Resealing},
    system::sandbox::Sandbox,
    tray::{Circuit, Standing},
};

/// The time from one look to the next.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    connected: Connected,
    /// Look again every second, until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// Print the daemon's answer as JSON
    #[arg(long)]
    json: bool,
}

/// The daemon's answer.
#[derive(Serialize, Deserialize)]
pub(super) struct Status {
    pub(super) version: String,
    pub(super) vault: String,
    pub(super) epoch: Option<u32>,
    pub(super) authentications: Counts,
    pub(super) ages: Ages,
    pub(super) refusals: u64,
    #[serde(flatten)]
    pub(super) posted: Posted,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) full: u64,
    pub(super) pending: u64,
    pub(super) not_permitted: u64,
    pub(super) not_enabled: u64,
    pub(super) gone: u64,
    pub(super) damaged: u64,
    pub(super) refused: u64,
    pub(super) users: u64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Ages {
    pub(super) oldest_fetched_at: Option<Timestamp>,
    pub(super) next_expiry_at: Option<Timestamp>,
    pub(super) expired: u64,
    pub(super) expiring_within_hour: u64,
    pub(super) expiring_within_day: u64,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    loop {
        let status: Status = api::ask(&arguments.connected, Method::GET, "/v1/status")?;
        if arguments.watch && io::stdout().is_terminal() {
            // Cursor home, and everything after it cleared (ECMA-48, CUP and ED).
            io::stdout().lock().write_all(b"\x1b[H\x1b[2J")?;
        }
        let shown = if arguments.json { output::json(&status) } else { print(&status, Timestamp::now()) };
        shown?;
        if !arguments.watch {
            return Ok(());
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn print(status: &Status, now: Timestamp) -> Result<(), Failure> {
    let Counts { full, pending, not_permitted, not_enabled, gone, damaged, refused, users } = &status.authentications;
    let Posted { started_at, landlock, tray, sync, ingest, resealing, problems } = &status.posted;
    let mut table = output::Rows::new(["what", "how it stands"]);
    let confined = match landlock {
        Sandbox::Whole => "",
        Sandbox::Partial => ", in part confined by Landlock",
        Sandbox::None => ", not confined by Landlock",
    };
    table.add(["daemon", &format!("version {}, up since {started_at:.0}{confined}", status.version)]);
    let epoch = status.epoch.map(|epoch| format!(", epoch {epoch}")).unwrap_or_default();
    let resealing = resealing.map(|Resealing { done, total }| format!(", {done} of {total} records re-sealed"));
    table.add(["vault", &format!("{}{epoch}{}", status.vault, resealing.unwrap_or_default())]);
    table.add(["tray", &describe_tray(tray)]);
    table.add(["end users", &users.to_string()]);
    let few = |count: u64, what| if count > 0 { format!(", {count} {what}") } else { String::new() };
    let (refused, damaged) = (few(*refused, "refused"), few(*damaged, "damaged"));
    table.add([
        "authentications",
        &format!(
            "{full} held in full, {not_permitted} not permitted, {not_enabled} not enabled, {pending} pending, {gone} \
             gone{refused}{damaged}"
        ),
    ]);
    let last = sync.last.as_ref().map_or_else(
        || "none yet".to_owned(),
        |last| format!("{}: {}", output::relative(Some(last.ended_at), now), describe(last)),
    );
    let next = match sync.progress {
        Some(progress) => describe_progress(&progress, now),
        None if sync.running => "under way".to_owned(),
        None => output::relative(sync.next_at, now),
    };
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

/// How Tray answers, in a line.
fn describe_tray(tray: &Standing) -> String {
    let Standing { offline, hosts, budget, requests, .. } = tray;
    if *offline {
        return "offline: it is not asked".to_owned();
    }
    let mut text = String::new();
    for host in hosts.iter().filter(|host| host.circuit != Circuit::Closed) {
        let again = host.retry_in_seconds.map(|seconds| format!(", asked again in {seconds}s")).unwrap_or_default();
        // Writing to a String can't fail.
        let _ = write!(text, "{} does not answer{again}; ", host.host);
    }
    if text.is_empty() {
        text.push_str("answers; ");
    }
    if let Some(seconds) = budget.paused_for_seconds {
        let _ = write!(text, "over its limit, paused for {seconds}s; ");
    }
    let _ = write!(text, "{} requests so far, {} waiting", requests.total(), budget.waiting);
    text
}

/// How far a cycle is, with its rate and the time that is left at that rate.
fn describe_progress(progress: &Progress, now: Timestamp) -> String {
    let Progress { phase, done, total, since } = progress;
    let what = match phase {
        Phase::Listing => "lists read",
        Phase::Pulling => "pulled",
    };
    let seconds = now.duration_since(*since).as_secs_f64();
    let mut text = format!("under way: {done} of {total} {what}");
    if *done > 0 && seconds >= 1.0 {
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
        let (rate, rest) = (*done as f64 / seconds, total.saturating_sub(*done) as f64);
        let left = output::span(jiff::SignedDuration::from_secs_f64(rest / rate));
        let _ = write!(text, ", {rate:.1}/s, {left} left");
    }
    text
}

/// One cycle in a line.
pub(super) fn describe(report: &CycleReport) -> String {
    let CycleReport { principals, listed, pulled, not_permitted, gone, held_back, failed, requests, .. } = report;
    let mut text = format!("{listed} listed (owners: {principals}), {pulled} pulled");
    for (count, what) in
        [(not_permitted, "not permitted"), (gone, "gone"), (held_back, "held back"), (failed, "failed")]
    {
        if *count > 0 {
            // Writing to a String can't fail.
            let _ = write!(text, ", {count} {what}");
        }
    }
    let _ = write!(text, ", with {requests} requests");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_has_a_rate_and_a_time_left() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let progress = |done| Progress { phase: Phase::Pulling, done, total: 8_000, since: at(0) };
        assert_eq!(describe_progress(&progress(0), at(50)), "under way: 0 of 8000 pulled");
        assert_eq!(describe_progress(&progress(1_500), at(50)), "under way: 1500 of 8000 pulled, 30.0/s, 4m left");
    }
}
