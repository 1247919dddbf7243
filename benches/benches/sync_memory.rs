//! How much memory the daemon takes while it pulls a hundred thousand authentications for the first time.
//!
//! At the rate that Tray permits it takes an hour. `USERS` sets another number of end users than a thousand, for a
//! quick look; each has a hundred authentications.

use std::{
    env, thread,
    time::{Duration, Instant},
};

use trayvault::emulator::Call;
use trayvault_benches::{
    BODY_LEN, file_len,
    house::{House, Tray},
};

const USERS: usize = 1_000;
const AUTHENTICATIONS_EACH: usize = 100;

const MOST_MEMORY_MIB: f64 = 128.0;

const SAMPLE_EVERY: Duration = Duration::from_secs(5);
const PRINT_EVERY: Duration = Duration::from_secs(60);

fn main() {
    let users = env::var("USERS").map_or(USERS, |number| number.parse().expect("USERS is a number"));
    let tray = Tray::start(users, AUTHENTICATIONS_EACH);
    let world = tray.world();
    let all = users * AUTHENTICATIONS_EACH;
    assert_eq!(world.state().authentications, all);
    println!("{users} end users with {AUTHENTICATIONS_EACH} authentications each, {BODY_LEN} bytes of credentials");

    let house = House::new(Some(&tray), "");
    let daemon = house.daemon();
    let start = Instant::now();
    let mut most_sampled: f64 = 0.0;
    let mut print_at = Duration::ZERO;
    let report = loop {
        most_sampled = most_sampled.max(daemon.resident_mib());
        let sync = house.ask("GET", "/v1/status")["sync"].take();
        if start.elapsed() >= print_at {
            print_at += PRINT_EVERY;
            let progress = &sync["progress"];
            println!(
                "{:5.0} s: {} {} of {}; {:.1} MiB resident, {:.1} MiB at most",
                start.elapsed().as_secs_f64(),
                progress["phase"],
                progress["done"],
                progress["total"],
                daemon.resident_mib(),
                daemon.peak_mib()
            );
        }
        if !sync["last"].is_null() {
            break sync["last"].clone();
        }
        thread::sleep(SAMPLE_EVERY);
    };

    println!("the first cycle ended after {:.0} s: {report:#}", start.elapsed().as_secs_f64());
    println!("held in full: {} of {all}", house.ask("GET", "/v1/status")["authentications"]["full"]);
    println!("full reads: {}; over the limit: {}", world.requests(Call::FullRead), world.limit_rejections());
    println!("cache.db: {} KiB", file_len(&house.path("state/cache.db")) / 1024);
    println!("resident, of samples every {SAMPLE_EVERY:?}: {most_sampled:.1} MiB at most");
    println!("peak resident: {:.1} MiB (target: under {MOST_MEMORY_MIB} MiB)", daemon.peak_mib());
}
