//! One plan over a million authentications, most of which are as they should be.

use std::{
    collections::BTreeMap,
    hint::black_box,
    iter,
    time::{Duration, Instant},
};

use criterion::Criterion;
use jiff::{SignedDuration, Timestamp};
use trayvault::{
    sync::{
        Config,
        plan::{Action, Asked, FullReads, Remote, plan},
    },
    vault::{Fingerprint, GoneReason, Scheduled, State},
};
use trayvault_benches::Corpus;

const AUTHENTICATIONS: usize = 1_000_000;

const MOST: Duration = Duration::from_secs(1);

const PLANS: usize = 20;

/// What Tray lists, and what is held.
struct Compared {
    remote: Vec<Remote>,
    local: Vec<Scheduled>,
}

impl Compared {
    /// A million on either side. Of a hundred 90 are unchanged and fresh, and two are on one side only; two changed, two
    /// expire soon, and one each is old, no longer permitted, refused by Tray a moment ago, and not pulled yet.
    fn at(now: Timestamp) -> Self {
        let ago = |minutes| now - SignedDuration::from_mins(minutes);
        let (before, since) = (Fingerprint::from_bytes([1; 16]), Fingerprint::from_bytes([2; 16]));
        let missing = AUTHENTICATIONS / 50;
        let corpus = Corpus::new(AUTHENTICATIONS + missing, 1);
        let (mut remote, mut local) = (Vec::new(), Vec::new());
        for (number, id) in corpus.ids().iter().copied().enumerate() {
            let as_listed = Remote { id, metadata: before, permitted: true };
            let held = Scheduled {
                id,
                metadata: before,
                state: State::Full,
                gone: None,
                fetched_at: Some(ago(30)),
                expires_at: None,
            };
            let (listed, held) = match number % 100 {
                _ if number >= AUTHENTICATIONS => (None, Some(held)),
                90 | 91 => (Some(as_listed), None),
                92 | 93 => (Some(Remote { metadata: since, ..as_listed }), Some(held)),
                94 | 95 => (Some(as_listed), Some(Scheduled { expires_at: Some(ago(-1)), ..held })),
                96 => (Some(as_listed), Some(Scheduled { fetched_at: Some(ago(90)), ..held })),
                97 => (Some(Remote { permitted: false, ..as_listed }), Some(held)),
                98 => {
                    let gone = Some((ago(1), GoneReason::PermissionLost));
                    (Some(as_listed), Some(Scheduled { state: State::Gone, gone, fetched_at: None, ..held }))
                }
                99 => (Some(as_listed), Some(Scheduled { state: State::Pending, fetched_at: None, ..held })),
                _ => (Some(as_listed), Some(held)),
            };
            remote.extend(listed);
            local.extend(held);
        }
        // The cache's order is its keys', and not that of Tray's list.
        local.sort_unstable_by_key(|held| held.id);
        assert_eq!([remote.len(), local.len()], [AUTHENTICATIONS; 2]);
        Self { remote, local }
    }
}

fn main() {
    let now = Timestamp::from_second(1_750_000_000).expect("a time");
    let Compared { remote, local } = Compared::at(now);
    let config = Config::default();
    let plan = || plan(black_box(&remote), black_box(&local), now, Asked::ByTimer, FullReads::Try, &config);

    let mut counts = BTreeMap::new();
    for action in plan() {
        let kind = match action {
            Action::Record(_) => "record".to_owned(),
            Action::Pull(_, due) => format!("pull, for {due:?}"),
            Action::Await(_) => "await".to_owned(),
            Action::Withhold(_) => "withhold".to_owned(),
            Action::Remove(_) => "remove".to_owned(),
        };
        *counts.entry(kind).or_insert(0) += 1;
    }
    println!("a plan over {AUTHENTICATIONS} authentications on either side: {counts:?}");

    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    criterion.bench_function("plan", |bencher| bencher.iter_with_large_drop(plan));

    let mut times: Vec<_> = iter::repeat_with(|| {
        let start = Instant::now();
        black_box(plan());
        start.elapsed()
    })
    .take(PLANS)
    .collect();
    times.sort_unstable();
    println!("of {PLANS} plans the fastest took {:.0?}", times[0]);
    println!("the slowest took {:.0?} (target: under {MOST:?})", times[PLANS - 1]);
    criterion.final_summary();
}
