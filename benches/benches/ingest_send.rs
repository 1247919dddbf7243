//! How near the daemon comes to the most that Tray permits, while it sends creates that were dropped while it was offline:
//! the requests that the emulator counted until the last of them was done, over what its limits would have let through in
//! the same time. Once 1,800 of two hundred owners, nine each; and once 300, all of the workspace in one environment, where
//! each waits for the one before.
//!
//! `DELAY_MS` has the emulator answer everything so much later, as Tray's network does; the workspace is left out then.

use std::{
    env, thread,
    time::{Duration, Instant},
};

use trayvault::emulator::{Call, Fault, FaultKind, Limit};
use trayvault_benches::{
    drops,
    house::{House, Tray},
    permitted,
};

/// Owners, and creates of all of them.
const OF_MANY: (usize, usize) = (200, 1_800);
/// Creates of the workspace.
const OF_ONE: usize = 300;

const LEAST_OF_PERMITTED: f64 = 0.97;

const LOOK_EVERY: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(15 * 60);

fn main() {
    let delay = env::var("DELAY_MS").ok().map(|delay| delay.parse().expect("DELAY_MS is a number"));
    send(OF_MANY.0, OF_MANY.1, delay);
    if delay.is_none() {
        send(0, OF_ONE, None);
    }
}

/// Sends those of so many owners; of none, those of the workspace.
fn send(owners: usize, creates: usize, delay: Option<u64>) {
    let tray = Tray::start(owners, 0);
    let world = tray.world();
    let names: Vec<_> = world.users().into_iter().map(|user| user.external_user_id).collect();
    let house = House::new(Some(&tray), "");
    let drop = house.drop_directory();
    house.api_user(&tray);
    for number in 0..creates {
        let owner = (owners > 0).then(|| names[number % owners].as_str());
        drops::write(&drop.join(format!("{number:04}.json")), &drops::create(number, owner));
    }
    drops::sync();
    let daemon = house.daemon_offline();
    drops::until_pending(&house, creates, PATIENCE);
    daemon.stop();
    assert_eq!(world.state().requests.values().sum::<u64>(), 0, "it was offline");

    if let Some(delay) = delay {
        let kind = FaultKind::DelayMs(delay);
        world.add_fault(Fault { call: None, times: u32::MAX, after_work: false, kind });
    }
    let _daemon = house.daemon();
    let requests = || world.state().requests.values().sum::<u64>();
    while requests() == 0 {
        thread::sleep(LOOK_EVERY);
    }
    let first = Instant::now();
    while world.creations().len() < creates {
        assert!(first.elapsed() < PATIENCE, "{} of {creates} were created", world.creations().len());
        thread::sleep(LOOK_EVERY);
    }
    let (time, requests, by_call) = (first.elapsed(), requests(), world.state().requests);
    // Nothing comes after it that was dropped.
    thread::sleep(Duration::from_secs(2));

    let whose = if owners > 0 { format!("{owners} owners") } else { "the workspace, one after the other".to_owned() };
    println!("{creates} creates of {whose}; every answer {} ms late", delay.unwrap_or_default());
    println!("requests by call: {by_call:?}");
    let permitted = permitted(Limit::default(), time);
    println!("{requests} requests in {time:.1?}, of {permitted:.0} that are permitted");
    println!("over the limit: {}", world.limit_rejections());
    let state = world.state();
    let sent = world.requests(Call::CreateAuthentication);
    println!("created: {} by {sent} requests; twice: {}", state.creations, state.duplicates);
    #[expect(clippy::cast_precision_loss, reason = "a share for people to read")]
    let share = requests as f64 / permitted;
    let target = if owners > 0 { format!(" (target: at least {LEAST_OF_PERMITTED})") } else { String::new() };
    println!("requests / permitted = {share:.4}{target}");
}
