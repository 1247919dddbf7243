//! Reads over the socket: the daemon, which authorises, opens and audits each, and a bare axum server that answers a
//! constant. Both are processes of their own with the same runtime and the same allocator, asked in turns by the same
//! client.
//!
//! `TRAYVAULT` names the release binary. `ROUNDS` sets another number of rounds.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderName, HeaderValue, header},
    routing::get,
};
use tokio::net::UnixListener;
use trayvault_benches::{
    Corpus,
    house::{Daemon, House},
    load::{Load, Measured, median, reads},
    open_vault, ratio,
};

const RECORDS: usize = 5_000;
const OWNERS: usize = 500;
const BATCH: usize = 1_000;

const ROUNDS: usize = 20;
const ROUND: Duration = Duration::from_millis(500);
const WARM_UP: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(60);

/// How many connections, and the least part of the bare server's requests a second.
const TARGETS: [(usize, f64); 3] = [(1, 0.9), (8, 0.6), (64, 0.6)];
/// With 8 connections, how many times the bare server's at the 99th percentile.
const MOST_OF_BARE_P99: f64 = 3.0;

/// What tells this program that it is the bare server: its socket, and how long its answer is.
const BARE_SOCKET: &str = "BARE_SOCKET";
const BARE_LEN: &str = "BARE_LEN";

fn main() {
    if let Some(socket) = env::var_os(BARE_SOCKET) {
        let len = env::var(BARE_LEN).ok().and_then(|len| len.parse().ok()).expect("a length");
        serve_constant(Path::new(&socket), len);
        return;
    }
    let rounds = env::var("ROUNDS").map_or(ROUNDS, |number| number.parse().expect("ROUNDS is a number"));
    let house = House::new(None, "");
    let corpus = Corpus::new(RECORDS, OWNERS);
    corpus.fill(&open_vault(&house), BATCH);
    let _daemon = house.daemon_offline();
    let answer = house.connect().ask("GET", &format!("/v1/authentications/{}/full", corpus.ids()[0]));
    let (_bare, bare_socket) = start_bare(&house, answer.expect("an answer").len());

    let requests = reads(corpus.ids());
    for (connections, least) in TARGETS {
        let mut bare = Load::connect(&bare_socket, connections);
        let mut daemon = Load::connect(&house.socket(), connections);
        for load in [&mut bare, &mut daemon] {
            load.run(&requests, WARM_UP);
        }
        let rounds: Vec<_> = (0..rounds).map(|_| [bare.run(&requests, ROUND), daemon.run(&requests, ROUND)]).collect();
        report(connections, least, &rounds);
    }
}

fn report(connections: usize, least: f64, rounds: &[[Measured; 2]]) {
    let of = |value: &dyn Fn(&[Measured; 2]) -> f64| median(rounds.iter().map(value).collect());
    for (side, name) in ["bare", "trayvault"].into_iter().enumerate() {
        let latency = |percent| Duration::from_secs_f64(of(&|round| round[side].quantile(percent).as_secs_f64()));
        println!(
            "{connections} connections, {name}: {:.0} requests/s, p50 {:.1?}, p99 {:.1?}",
            of(&|round| round[side].rate()),
            latency(50),
            latency(99)
        );
    }
    let rate = of(&|[bare, daemon]| daemon.rate() / bare.rate());
    let [p50, p99] =
        [50, 99].map(|percent| of(&|[bare, daemon]| ratio(daemon.quantile(percent), bare.quantile(percent))));
    println!("trayvault / bare = {rate:.2} (target: at least {least}); p50 {p50:.2}, p99 {p99:.2}");
    if connections == 8 {
        println!("p99 with 8 connections: {p99:.2} (target: under {MOST_OF_BARE_P99})");
    }
}

/// This program once more, as the bare server.
fn start_bare(house: &House, len: usize) -> (Daemon, PathBuf) {
    let socket = house.path("bare.sock");
    let mut command = Command::new(env::current_exe().expect("this program"));
    command.env(BARE_SOCKET, &socket).env(BARE_LEN, len.to_string()).stdin(Stdio::null());
    let bare = Daemon::new(command.spawn().expect("it starts"));
    let start = Instant::now();
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        assert!(start.elapsed() < PATIENCE, "the bare server does not listen");
        thread::sleep(Duration::from_millis(10));
    }
    (bare, socket)
}

/// As little as a server in axum can do: a constant of the same size, with as many headers.
fn serve_constant(socket: &Path, len: usize) {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (HeaderName::from_static("x-request-id"), HeaderValue::from_static("00000000-0000-0000-0000-000000000000")),
    ];
    let body = Bytes::from(vec![b'x'; len]);
    let answer = async move || (headers.clone(), body.clone());
    let router = Router::new().route("/v1/authentications/{id}/full", get(answer));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = UnixListener::bind(socket).expect("a socket");
        axum::serve(listener, router).await.expect("it serves until it is killed");
    });
}
