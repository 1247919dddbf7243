//! How fast the daemon takes in what is dropped: ten thousand files that lie there when it starts, then a hundred thousand
//! that are renamed into the directory while it runs. A file is taken in when its document is in the journal, its
//! plaintext overwritten and removed, and the disk has all of it. Tray is not asked meanwhile.
//!
//! `FILES` and `BURST` set other numbers. The directory is in `TMPDIR`, which should not be in memory.

use std::{
    env, fs,
    path::Path,
    time::{Duration, Instant},
};

use trayvault_benches::{drops, file_len, house::House};

const FILES: usize = 10_000;
const BURST: usize = 100_000;
const OWNERS: usize = 1_000;

const LEAST_A_SECOND: f64 = 1_000.0;

const PATIENCE: Duration = Duration::from_secs(15 * 60);

fn main() {
    let files = number("FILES", FILES);
    let burst = number("BURST", BURST);
    let house = House::new(None, "");
    let drop = house.drop_directory();

    write(&drop, 0..files);
    drops::sync();
    let begun = Instant::now();
    let daemon = house.daemon_offline();
    let listens = begun.elapsed();
    drops::until_pending(&house, files, PATIENCE);
    let took = begun.elapsed();
    assert_eq!(drops::left(&drop), 0, "none is left");
    println!("{files} files that lay there: {took:.2?}, of which the daemon took {listens:.2?} to listen");
    println!("files a second = {:.0} (target: at least {LEAST_A_SECOND})", rate(files, took));
    println!("the daemon: {}", drops::memory(&daemon));

    let waiting = drop.join("tmp");
    write(&waiting, files..files + burst);
    drops::sync();
    let begun = Instant::now();
    for number in files..files + burst {
        fs::rename(waiting.join(name(number)), drop.join(name(number))).expect("a delivery");
    }
    let delivered = begun.elapsed();
    drops::until_pending(&house, files + burst, PATIENCE);
    let took = begun.elapsed();
    assert_eq!(drops::left(&drop), 0, "none is left");
    println!("{burst} files delivered in {delivered:.2?}: all of them taken in {took:.2?} after the first");
    println!("files a second = {:.0}", rate(burst, took));
    println!("the daemon: {}", drops::memory(&daemon));
    println!("journal.db: {} MiB", file_len(&house.path("state/journal.db")) >> 20);
    daemon.stop();
}

fn number(variable: &str, default: usize) -> usize {
    env::var(variable).map_or(default, |number| number.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

fn write(directory: &Path, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let owner = format!("customer-{}", number % OWNERS);
        drops::write(&directory.join(name(number)), &drops::create(number, Some(&owner)));
    }
}

fn name(number: usize) -> String {
    format!("{number:07}.json")
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
fn rate(files: usize, time: Duration) -> f64 {
    files as f64 / time.as_secs_f64()
}
