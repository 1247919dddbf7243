//! How near the daemon comes to the most that Tray permits, while it pulls ten thousand authentications for the first
//! time: the requests that the emulator counted, over what its limits would have let through in the same time.
//!
//! It takes eight minutes. `USERS` sets another number of end users, for a quick look; each has five authentications.
//! `DELAY_MS` has the emulator answer everything so much later, as Tray's network does.

use std::{
    env, thread,
    time::{Duration, Instant},
};

use trayvault::emulator::{Fault, FaultKind, Limit, World};
use trayvault_benches::{
    house::{House, Tray},
    permitted,
};

const USERS: usize = 2_000;
const AUTHENTICATIONS_EACH: usize = 5;

const LEAST_OF_PERMITTED: f64 = 0.97;

const LOOK_EVERY: Duration = Duration::from_millis(5);
const ASK_EVERY: Duration = Duration::from_secs(1);
const PRINT_EVERY: Duration = Duration::from_secs(30);

fn main() {
    let users = env::var("USERS").map_or(USERS, |number| number.parse().expect("USERS is a number"));
    let tray = Tray::start(users, AUTHENTICATIONS_EACH);
    let world = tray.world();
    if let Ok(delay) = env::var("DELAY_MS") {
        let kind = FaultKind::DelayMs(delay.parse().expect("DELAY_MS is a number"));
        world.add_fault(Fault { call: None, times: u32::MAX, after_work: false, kind });
    }
    println!("{users} end users with {AUTHENTICATIONS_EACH} authentications each");

    let house = House::new(Some(&tray), "");
    let _daemon = house.daemon();
    let (counted, report) = count(&world, &house);

    println!("the report: {report:#}");
    println!("requests by call: {:?}", world.state().requests);
    let time = counted.last - counted.first;
    let permitted = permitted(Limit::default(), time);
    println!("{} requests in {time:.1?}, of {permitted:.0} that are permitted", counted.requests);
    println!("over the limit: {}; failed: {}", world.limit_rejections(), report["failed"]);
    println!("held in full: {}", house.ask("GET", "/v1/status")["authentications"]["full"]);
    #[expect(clippy::cast_precision_loss, reason = "a share for people to read")]
    let share = counted.requests as f64 / permitted;
    println!("requests / permitted = {share:.4} (target: at least {LEAST_OF_PERMITTED})");
}

/// The requests of a cycle: how many, and when the first and the last of them came.
struct Counted {
    requests: u64,
    first: Instant,
    last: Instant,
}

/// Counts until the first cycle has ended; and its report.
fn count(world: &World, house: &House) -> (Counted, serde_json::Value) {
    let requests = || world.state().requests.values().sum::<u64>();
    while requests() == 0 {
        thread::sleep(LOOK_EVERY);
    }
    let first = Instant::now();
    let mut counted = Counted { requests: requests(), first, last: first };
    let (mut ask_at, mut print_at, mut printed) = (first, first + PRINT_EVERY, 0);
    loop {
        let (now, requests) = (Instant::now(), requests());
        if requests > counted.requests {
            counted.requests = requests;
            counted.last = now;
        }
        if now >= print_at {
            print_at += PRINT_EVERY;
            println!("{:4.0} s: {} requests, {} more", (now - first).as_secs_f64(), requests, requests - printed);
            printed = requests;
        }
        if now >= ask_at {
            ask_at += ASK_EVERY;
            let mut sync = house.ask("GET", "/v1/status")["sync"].take();
            if !sync["last"].is_null() {
                return (counted, sync["last"].take());
            }
        }
        thread::sleep(LOOK_EVERY);
    }
}
