//! The audit log: how many entries a second eight tasks write, not synced, and how long a million take to verify.
//!
//! `ENTRIES` sets another number of entries.

use std::{
    env,
    time::{Duration, Instant},
};

use trayvault::{
    audit::{self, Action, Actor, AuditLog, Config, Event, Outcome, Target, Verdict},
    authentication::AuthenticationId,
    crypto::random_key,
};

const ENTRIES: u64 = 1_000_000;
const TASKS: u64 = 8;

/// In entries a second.
const LEAST_WRITTEN: f64 = 50_000.0;
/// For a million entries.
const MOST_TO_VERIFY: Duration = Duration::from_secs(2);

const ROUNDS: usize = 5;

fn main() {
    let entries = env::var("ENTRIES").map_or(ENTRIES, |number| number.parse().expect("ENTRIES is a number"));
    let directory = tempfile::tempdir().expect("a directory");
    let key = random_key().expect("a key");
    drop(AuditLog::create(directory.path(), key.duplicate()).expect("a log"));
    let log = AuditLog::open(directory.path(), key.duplicate(), Config::default()).expect("a log");
    let runtime = tokio::runtime::Builder::new_multi_thread().build().expect("a runtime");
    let begun = Instant::now();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let log = log.clone();
                tokio::spawn(async move {
                    for number in 0..entries / TASKS {
                        log.record_together(event(task * entries + number)).await.expect("written");
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("a task");
        }
    });
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let rate = entries as f64 / begun.elapsed().as_secs_f64();
    println!("written by {TASKS} tasks: {rate:.0} entries/s (target: at least {LEAST_WRITTEN:.0})");

    let mut took: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            let verdict = audit::verify(&key, directory.path(), &[], &|_, _| {}).expect("readable");
            let Verdict::Intact(found) = verdict else { panic!("{verdict:?}") };
            assert!(found.entries >= entries, "{found:?}");
            begun.elapsed()
        })
        .collect();
    took.sort_unstable();
    println!(
        "verified: {entries} entries in {:.2?} at the median, {:.2?} at most (target: under {MOST_TO_VERIFY:?})",
        took[ROUNDS / 2],
        took[ROUNDS - 1]
    );
}

/// A read, as there are most of.
fn event(number: u64) -> Event {
    let id = uuid::Uuid::from_u128(number.into());
    let target =
        Target { authentication: Some(AuthenticationId(id)), name: Some("a name".to_owned()), ..Target::default() };
    let actor = Actor { uid: 1_000, gid: 1_000, unit: Some("billing.service".to_owned()) };
    Event::new(Action::Read, Outcome::Done).on(target).by(actor).under(Some("billing reads")).request(id)
}
