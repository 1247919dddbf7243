//! Whether a dropped document comes to its one end whenever the daemon dies: it is killed at every step
//! (`TRAYVAULT_FAILPOINT`, see `steps`) and at random moments, while Tray loses answers, is late or talks nonsense; then
//! an oracle compares what was dropped with the files, the journal and Tray. Tray is the emulator, which outlives the
//! daemons.
//!
//! `cargo test --test crash`, which CI runs, kills about a hundred times. For a night's run say how often:
//!
//! ```sh
//! TRAYVAULT_CRASH_KILLS=1000 cargo test --locked --test crash
//! ```
//!
//! A failure names its seed, and `TRAYVAULT_CRASH_SEED` repeats the same drops, faults and delays.

#![expect(clippy::expect_used, reason = "a test that can't go on says why and fails")]

mod chance;
mod figures;
mod ledger;
mod oracle;
mod site;
mod steps;
#[expect(dead_code, reason = "the other tests' house has more than is needed here")]
#[path = "../it/support.rs"]
mod support;

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use self::{
    chance::Chance,
    figures::Figures,
    site::Site,
    steps::{EVERYTHING, STEPS, Step, Trouble},
};

/// The longest that the emulator delays a request, before the work or after it, in milliseconds: longer than the daemon
/// waits for an answer, and less than it waits for a create to appear.
const LATEST: u64 = 700;

/// How many sites are worked on at once: most of the time is waited.
const SITES: usize = 3;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().expect("a number"))
}

/// Runs `work` on some sites at once; what it came to.
fn on_sites(what: &str, work: impl Fn(usize) -> Figures + Sync) {
    let all = Mutex::new(Figures::default());
    std::thread::scope(|scope| {
        for index in 0..SITES {
            let (work, all) = (&work, &all);
            scope.spawn(move || {
                let figures = work(index);
                all.lock().expect("no other has failed").add(figures);
            });
        }
    });
    all.into_inner().expect("none has failed").tell(what);
}

#[test]
fn a_daemon_that_is_killed_at_any_step_goes_on_from_there() {
    let all: Vec<_> = STEPS.iter().flat_map(|step| step.counts.iter().map(move |count| (step, *count))).collect();
    let next = AtomicUsize::new(0);
    on_sites("at every step", |_| {
        let mut site = Site::new(String::new());
        while let Some((step, count)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            kill_at(&mut site, step, *count);
        }
        site.figures
    });
}

fn kill_at(site: &mut Site, step: &Step, count: u32) {
    site.story = format!("killed at {}:{count}", step.at);
    site.trouble(step.trouble);
    if let Trouble::DiedAt(earlier) = step.trouble {
        let mut running = site.start(Some(earlier));
        site.drop_all(step.drops);
        assert!(site.killed_before_rest(&mut running, step.trouble), "{earlier} was not passed\n{}", site.log());
        site.figures.killed(earlier);
    }
    let mut running = site.start(Some(&format!("{}:{count}", step.at)));
    // What is dropped once may be taken in at once: a later passing may take another time.
    let was_killed = (0..3).any(|_| {
        site.drop_all(step.drops);
        site.killed_before_rest(&mut running, step.trouble)
    });
    assert!(was_killed, "{} was not passed {count} times\n{}", step.at, site.log());
    site.figures.killed(step.at);
    site.house.world().clear_faults();
    come_to_rest(site);
}

#[test]
fn a_daemon_that_is_killed_at_any_moment_goes_on_from_there() {
    let seed = number("TRAYVAULT_CRASH_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
        u64::from(now.subsec_nanos())
    });
    let steps: usize = STEPS.iter().map(|step| step.counts.len()).sum();
    let kills = number("TRAYVAULT_CRASH_KILLS").unwrap_or(100).saturating_sub(steps as u64).max(20);
    on_sites(&format!("at random, seed {seed}"), |index| {
        let mut chance = Chance::new(seed.wrapping_add(index as u64));
        let mut site = Site::new(format!("seed {seed}, site {index}"));
        let mut left = kills.div_ceil(SITES as u64);
        while left > 0 {
            let kills = (2 + chance.below(4)).min(left);
            left -= kills;
            for _ in 0..kills {
                kill_at_random(&mut site, &mut chance);
            }
            site.house.world().clear_faults();
            come_to_rest(&mut site);
        }
        site.figures
    });
}

fn kill_at_random(site: &mut Site, chance: &mut Chance) {
    for _ in 0..chance.below(4) {
        site.house.world().add_fault(chance.fault());
    }
    if chance.strikes(5) {
        site.house.world().expire_user_tokens();
    }
    drop_some(site, chance);
    let failpoint = chance.strikes(30).then(|| chance.one_of(&steps::names()));
    let armed = failpoint.map(|at| format!("{at}:{}", 1 + chance.below(3)));
    let running = site.start(armed.as_deref());
    // It takes some time until it has begun, which is worth a kill too.
    std::thread::sleep(Duration::from_millis(chance.below(700)));
    drop_some(site, chance);
    std::thread::sleep(Duration::from_millis(chance.below(700)));
    let was_killed = running.kill(&site.story);
    site.figures.killed(failpoint.filter(|_| was_killed).unwrap_or("any moment"));
}

fn drop_some(site: &mut Site, chance: &mut Chance) {
    for _ in 0..chance.below(4) {
        let user = chance.below(site.ledger.users.len() as u64);
        site.drop_one(chance.one_of(EVERYTHING), usize::try_from(user).expect("an index"));
    }
}

/// Has a daemon bring everything to its end, and the oracle look at it.
fn come_to_rest(site: &mut Site) {
    let begun = Instant::now();
    let mut running = site.start(None);
    assert!(!site.killed_before_rest(&mut running, Trouble::None), "{}: it was not armed", site.story);
    // What the dead daemon has sent may still be on its way.
    std::thread::sleep(Duration::from_millis(LATEST).saturating_sub(begun.elapsed()));
    oracle::check(site);
    running.kill(&site.story);
}
