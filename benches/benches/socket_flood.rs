//! One user keeps 10,000 connections open, or opens them again when they are closed, while another one reads: how much
//! longer the other one's reads take. Only root can be two users.
//!
//! `TRAYVAULT` names the release binary. `RETRY_MS` is how long the crowd waits before it opens a closed one again.

use std::{
    env, fs,
    io::Read,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::UnixStream};
use trayvault_benches::{
    Corpus,
    house::{Daemon, House},
    load::{Load, median, reads},
    open_vault, ratio,
};

const RECORDS: usize = 1_000;
const OWNERS: usize = 100;

const CROWD: usize = 10_000;
const NOBODY: u32 = 65_534;
const RETRY_MS: u64 = 1_000;

const READERS: usize = 8;
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_secs(2);
/// Until all of the crowd have tried once.
const GATHERING: Duration = Duration::from_secs(2);
const MOST: f64 = 3.0;

/// What tells this program that it is the crowd.
const SOCKET: &str = "CROWD_SOCKET";

fn main() {
    if let Some(socket) = env::var_os(SOCKET) {
        crowd(Path::new(&socket));
    }
    let house = House::new(None, "");
    // The other user has to get as far as the socket.
    fs::set_permissions(house.path(""), fs::Permissions::from_mode(0o711)).expect("a directory");
    let corpus = Corpus::new(RECORDS, OWNERS);
    corpus.fill(&open_vault(&house), RECORDS);
    let _daemon = house.daemon_offline();
    let requests = reads(corpus.ids());
    let mut load = Load::connect(&house.socket(), READERS);
    load.run(&requests, ROUND);
    let rounds: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let alone = load.run(&requests, ROUND);
            let _crowd = gather(&house);
            thread::sleep(GATHERING);
            let beside = load.run(&requests, ROUND);
            println!(
                "alone: p50 {:.1?}, p99 {:.1?}, {:.0} requests/s; beside the crowd: p50 {:.1?}, p99 {:.1?}, {:.0} requests/s",
                alone.quantile(50),
                alone.quantile(99),
                alone.rate(),
                beside.quantile(50),
                beside.quantile(99),
                beside.rate()
            );
            [50, 99].map(|percent| ratio(beside.quantile(percent), alone.quantile(percent)))
        })
        .collect();
    let [p50, p99] = [0, 1].map(|index| median(rounds.iter().map(|round| round[index]).collect()));
    println!(
        "beside {CROWD} connections of another user / alone = {p99:.2} at p99 (target: at most {MOST}), {p50:.2} at p50"
    );
}

fn gather(house: &House) -> Daemon {
    // Each connection takes a descriptor, and the usual limit is 1,024.
    let mut command = Command::new("sh");
    command.arg("-c").arg("ulimit -n 20000 && exec \"$0\"").arg(env::current_exe().expect("this program"));
    command.env(SOCKET, house.socket()).uid(NOBODY).gid(NOBODY).stdin(Stdio::null());
    Daemon::new(command.spawn().expect("it starts, if this is root"))
}

/// Opens, holds, and opens again what is closed, until it is killed.
fn crowd(socket: &Path) -> ! {
    let retry = env::var("RETRY_MS").map_or(RETRY_MS, |number| number.parse().expect("RETRY_MS is a number"));
    let retry = Duration::from_millis(retry);
    let mut poll = Poll::new().expect("an epoll");
    let mut held: Vec<Option<UnixStream>> = (0..CROWD).map(|_| None).collect();
    let mut due = vec![Instant::now(); CROWD];
    let mut events = Events::with_capacity(CROWD);
    loop {
        let now = Instant::now();
        for (number, (one, due)) in held.iter_mut().zip(&mut due).enumerate() {
            if one.is_some() || *due > now {
                continue;
            }
            *due = now + retry;
            // Where the backlog is full it is tried again like one that was closed.
            if let Ok(mut stream) = UnixStream::connect(socket) {
                poll.registry().register(&mut stream, Token(number), Interest::READABLE).expect("a registration");
                *one = Some(stream);
            }
        }
        poll.poll(&mut events, Some(retry / 10)).expect("events");
        for event in &events {
            let one = &mut held[event.token().0];
            if one.as_mut().is_some_and(|stream| !matches!(stream.read(&mut [0; 16]), Ok(1..))) {
                *one = None;
            }
        }
    }
}
