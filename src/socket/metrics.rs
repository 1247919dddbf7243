//! `GET /metrics`: what is counted, and how the daemon stands, as OpenMetrics text. docs/metrics.md has the list.

use std::{fmt, sync::Arc, time::Instant};

use axum::{
    Extension,
    body::Body,
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, Response, header},
    middleware::Next,
};
use jiff::Timestamp;

use super::{
    Api,
    answer::{self, ApiError},
    asked::Asked,
    standing,
};
use crate::{
    metrics::{Format, Sheet, Unit},
    policy::Caller,
    status::{CycleReport, IngestStatus, Phase, Posted, SyncStatus},
    vault::{Ages, Counts},
};

/// Counts a request, and how long its answer took.
pub(super) async fn count(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response<Body> {
    let (begun, method) = (Instant::now(), request.method().clone());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    // A path that is no route's is the caller's word.
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    api.metrics.answered(route, method.as_str(), response.status().as_u16(), begun.elapsed());
    response
}

pub(super) async fn metrics(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Arc<Caller>>,
    headers: HeaderMap,
) -> Response<Body> {
    let asked = Asked::new(&api, caller);
    let format = format(&headers);
    let text = standing::may_look(&asked).and_then(|()| {
        let seen = Seen::of(&api);
        api.metrics.text(format, move |sheet| seen.write(sheet)).map_err(|fmt::Error| ApiError::CacheUnavailable)
    });
    asked.answer(text.map(|text| answer::text(asked.id(), format.content_type(), text)))
}

/// The older format for whoever asks for plain text alone.
fn format(headers: &HeaderMap) -> Format {
    let wanted = headers.get(header::ACCEPT).and_then(|wanted| wanted.to_str().ok());
    match wanted {
        Some(wanted) if wanted.starts_with("text/plain") && !wanted.contains("openmetrics") => Format::Prometheus,
        _ => Format::OpenMetrics,
    }
}

/// How the daemon stands as it is asked.
struct Seen {
    /// None while the vault is locked.
    epoch: Option<u32>,
    /// None where the cache can't be read.
    counts: Option<Counts>,
    ages: Ages,
    cache_write_fails: bool,
    cache_is_damaged: bool,
    posted: Posted,
    problems: usize,
    audit_entries: u64,
    audit_failures: u64,
    audit_fails: bool,
    audit_room: Option<u64>,
}

impl Seen {
    fn of(api: &Api) -> Self {
        let counts = api.cache.counts();
        let posted = api.board.read();
        let keys = api.cache.keyring().keys().ok();
        let (audit_entries, audit_failures) = api.audit.tally();
        let reported = posted.sync.last.as_ref().map_or(0, |last| last.problems.len());
        Self {
            epoch: keys.map(|keys| keys.epoch()),
            ages: api.cache.ages(Timestamp::now()).unwrap_or_default(),
            cache_write_fails: api.cache.write_failure().is_some(),
            cache_is_damaged: api.cache.damaged_file().is_some(),
            problems: standing::in_the_way(api, &counts).len()
                + posted.problems.len()
                + reported
                + posted.ingest.problems.len(),
            counts: counts.ok(),
            posted,
            audit_entries,
            audit_failures,
            audit_fails: api.audit.failure().is_some(),
            audit_room: api.audit.room_left(),
        }
    }

    fn write(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        sheet.info("build", "The program", &[("version", env!("CARGO_PKG_VERSION"))])?;
        let started_at = seconds(self.posted.started_at);
        sheet.gauge("start_time", Some(&Unit::Seconds), "When the daemon started, as Unix time", started_at)?;
        sheet.gauge("problems", None, "What stands in the way: trayvault status says what", number(self.problems))?;
        sheet.gauge("vault_unlocked", None, "Whether the vault is unlocked", flag(self.epoch.is_some()))?;
        let epoch = self.epoch.map(f64::from);
        sheet.gauge_if("vault_epoch", None, "The epoch that seals, while the vault is unlocked", epoch)?;
        self.write_held(sheet)?;
        write_sync(&self.posted.sync, sheet)?;
        write_tray(&self.posted, sheet)?;
        write_ingest(&self.posted.ingest, sheet)?;
        self.write_files(sheet)
    }

    fn write_held(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let states = self.counts.iter().flat_map(|counts| {
            let Counts { full, pending, not_permitted, not_enabled, gone, damaged, refused, users: _ } = *counts;
            [
                ("full", full),
                ("pending", pending),
                ("not_permitted", not_permitted),
                ("not_enabled", not_enabled),
                ("gone", gone),
                ("damaged", damaged),
                ("refused", refused),
            ]
            .map(|(state, count)| ([("state", state)], count_of(count)))
        });
        sheet.gauges("authentications", None, "Authentications that are known, by state", states)?;
        let users = self.counts.map(|counts| count_of(counts.users));
        sheet.gauge_if("end_users", None, "End users that are known", users)?;
        let Ages { oldest_fetched_at, next_expiry_at, expired, expiring_within_hour, expiring_within_day } = self.ages;
        sheet.gauge_if(
            "oldest_fetch_timestamp",
            Some(&Unit::Seconds),
            "When the secret was fetched that was not fetched for longest, as Unix time",
            oldest_fetched_at.map(seconds),
        )?;
        sheet.gauge_if(
            "next_expiry_timestamp",
            Some(&Unit::Seconds),
            "When the next secret expires, as Unix time",
            next_expiry_at.map(seconds),
        )?;
        sheet.gauge("expired_authentications", None, "Secrets that are held and have expired", count_of(expired))?;
        sheet.gauges(
            "expiring_authentications",
            None,
            "Secrets that are held and expire within this time",
            [
                ([("within", "hour")], count_of(expiring_within_hour)),
                ([("within", "day")], count_of(expiring_within_day)),
            ],
        )
    }

    fn write_files(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let fails = flag(self.cache_write_fails);
        sheet.gauge("cache_write_failing", None, "Whether the last batch could not be written", fails)?;
        let damaged = flag(self.cache_is_damaged);
        sheet.gauge("cache_damaged", None, "Whether the cache's file is damaged and not replaced yet", damaged)?;
        let entries = self.audit_entries;
        sheet.counter("audit_entries", None, "Entries in the audit log, of whichever process", entries)?;
        let failures = self.audit_failures;
        sheet.counter("audit_failures", None, "Entries that the daemon could not write", failures)?;
        let fails = flag(self.audit_fails);
        sheet.gauge("audit_failing", None, "Whether the last entry could not be written: no secret leaves", fails)?;
        sheet.gauge_if(
            "audit_room_left",
            Some(&Unit::Bytes),
            "Room for entries, once the disk is full",
            self.audit_room.map(count_of),
        )
    }
}

fn write_sync(sync: &SyncStatus, sheet: &mut Sheet<'_>) -> fmt::Result {
    let SyncStatus { running, progress, last, next_at, cycles, pulls } = sync;
    sheet.gauge("sync_running", None, "Whether a cycle is under way", flag(*running))?;
    let progress = progress.filter(|progress| progress.total > 0).map(|progress| {
        let phase = match progress.phase {
            Phase::Listing => "listing",
            Phase::Pulling => "pulling",
        };
        ([("phase", phase)], number(progress.done) / number(progress.total))
    });
    sheet.gauges("sync_progress", Some(&Unit::Other("ratio".to_owned())), "How far the cycle's phase is", progress)?;
    sheet.counter("sync_cycles", None, "Cycles that ended since the start", *cycles)?;
    let outcomes = [
        ("sealed", pulls.sealed),
        ("overtaken", pulls.overtaken),
        ("current", pulls.current),
        ("not_permitted", pulls.not_permitted),
        ("gone", pulls.gone),
        ("refused", pulls.refused),
        ("not_enabled", pulls.not_enabled),
        ("failed", pulls.failed),
    ];
    let outcomes = outcomes.map(|(outcome, count)| ([("outcome", outcome)], count));
    sheet.counters("pulls", None, "Pulls since the start, in cycles and on request, by outcome", outcomes)?;
    let of_last = |of: fn(&CycleReport) -> f64| last.as_ref().map(of);
    sheet.gauge_if(
        "sync_last_end_timestamp",
        Some(&Unit::Seconds),
        "When the last cycle ended, as Unix time",
        of_last(|last| seconds(last.ended_at)),
    )?;
    sheet.gauge_if(
        "sync_last_duration",
        Some(&Unit::Seconds),
        "How long the last cycle took",
        of_last(|last| last.ended_at.duration_since(last.started_at).as_secs_f64()),
    )?;
    let requests = of_last(|last| count_of(last.requests));
    sheet.gauge_if("sync_last_requests", None, "Requests that the last cycle took", requests)?;
    let results = last.iter().flat_map(|last| {
        [
            ("listed", last.listed),
            ("pulled", last.pulled),
            ("not_permitted", last.not_permitted),
            ("gone", last.gone),
            ("held_back", last.held_back),
            ("failed", last.failed),
        ]
        .map(|(result, count)| ([("result", result)], number(count)))
    });
    sheet.gauges("sync_last_authentications", None, "What the last cycle came to", results)?;
    let principals = last.iter().flat_map(|last| {
        [("listed", last.principals), ("not_enabled", last.not_enabled)]
            .map(|(result, count)| ([("result", result)], number(count)))
    });
    sheet.gauges(
        "sync_last_principals",
        None,
        "Principals of the last cycle, and those without full reads",
        principals,
    )?;
    sheet.gauge_if(
        "sync_next_timestamp",
        Some(&Unit::Seconds),
        "When the next cycle is due, as Unix time",
        next_at.map(seconds),
    )
}

fn write_tray(posted: &Posted, sheet: &mut Sheet<'_>) -> fmt::Result {
    let tray = &posted.tray;
    sheet.gauge("tray_offline", None, "Whether the daemon was told not to ask Tray", flag(tray.offline))?;
    // REST's host first; GraphQL's is the same where there is no other.
    let apis = || ["rest", "graphql"].into_iter().zip(tray.hosts.iter().chain(tray.hosts.last()));
    let circuits = apis().flat_map(|(api, host)| {
        let now = host.circuit.as_str();
        ["closed", "open", "half_open"].map(|state| ([("api", api), ("state", state)], flag(state == now)))
    });
    sheet.gauges("tray_circuit", None, "Whether Tray is asked: 1 for the circuit's state", circuits)?;
    let failures = apis().map(|(api, host)| ([("api", api)], f64::from(host.failures)));
    sheet.gauges("tray_consecutive_failures", None, "Requests in a row that Tray has not answered", failures)?;
    let budget = &tray.budget;
    sheet.gauge("tray_budget_tokens", None, "Requests that the budget permits at once", f64::from(budget.tokens))?;
    let capacity = f64::from(budget.capacity);
    sheet.gauge("tray_budget_capacity_tokens", None, "The most that the budget ever permits at once", capacity)?;
    let waiting = budget.waiting_by;
    let waiting = by_priority([waiting.refresh, waiting.ingest, waiting.expiry, waiting.discovery]);
    let waiting = waiting.map(|(priority, count)| (priority, count_of(count)));
    sheet.gauges("tray_waiting_requests", None, "Requests that wait for the budget, by priority", waiting)?;
    let pause = count_of(budget.paused_for_seconds.unwrap_or_default());
    sheet.gauge(
        "tray_pause",
        Some(&Unit::Seconds),
        "How long nothing is sent yet, having been over the limit",
        pause,
    )?;
    let sent = tray.requests;
    let sent = by_priority([sent.refresh, sent.ingest, sent.expiry, sent.discovery]);
    sheet.counters("tray_requests", None, "Requests to Tray since the start, by priority", sent)?;
    let answers = tray.answers;
    let outcomes = [
        ("success", answers.success),
        ("unanswered", answers.unanswered),
        ("over_limit", answers.over_limit),
        ("token_rejected", answers.token_rejected),
        ("not_permitted", answers.not_permitted),
        ("not_found", answers.not_found),
        ("bad_input", answers.bad_input),
        ("failed", answers.failed),
    ];
    let outcomes = outcomes.map(|(outcome, count)| ([("outcome", outcome)], count));
    sheet.counters("tray_answers", None, "What came of requests to Tray since the start", outcomes)?;
    sheet.counter("tray_limit_errors", None, "Answers of 'over the limit' since the start", budget.limit_errors)
}

fn write_ingest(ingest: &IngestStatus, sheet: &mut Sheet<'_>) -> fmt::Result {
    let waiting = [("pending", ingest.pending), ("held", ingest.held)];
    let waiting = waiting.map(|(state, count)| ([("state", state)], number(count)));
    sheet.gauges(
        "ingest_documents",
        None,
        "Dropped documents that are not settled; held ones wait for a person",
        waiting,
    )?;
    let settled = [("accepted", ingest.accepted), ("rejected", ingest.rejected)];
    let settled = settled.map(|(outcome, count)| ([("outcome", outcome)], count));
    sheet.counters("ingest_settled", None, "Dropped documents that were settled since the start", settled)
}

fn by_priority(counts: [u64; 4]) -> [([(&'static str, &'static str); 1], u64); 4] {
    let mut priorities = ["refresh", "ingest", "expiry", "discovery"].into_iter();
    counts.map(|count| ([("priority", priorities.next().unwrap_or_default())], count))
}

fn seconds(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}

fn flag(is_set: bool) -> f64 {
    f64::from(u8::from(is_set))
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
fn number(count: usize) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
fn count_of(count: u64) -> f64 {
    count as f64
}
