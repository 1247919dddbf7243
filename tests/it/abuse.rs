//! Callers that are slow, greedy or many lose their own connections, and nobody else's.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    time::Duration,
};

use crate::support::{CANARY, House};

/// Longer than the daemon waits for anything. Reached only by a failure.
const PATIENCE: Duration = Duration::from_secs(120);

const STATUS: &[u8] = b"GET /v1/status HTTP/1.1\r\nHost: a\r\n\r\n";
/// As many as the daemon lets one user have at once.
const PLACES: usize = 256;

fn connect(house: &House) -> UnixStream {
    let stream = UnixStream::connect(house.path("run/api.sock")).expect("the daemon listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// Sends this, and reads until the daemon closes the connection.
fn answer_to(house: &House, request: &[u8]) -> String {
    let mut stream = connect(house);
    // It may close before it has read all.
    let _ = stream.write_all(request);
    let answer = closed(&mut stream);
    house.capture("the answer to a request that is wrong", answer.as_bytes());
    answer
}

/// What comes until the daemon closes the connection.
fn closed(stream: &mut UnixStream) -> String {
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        // Closed with something of ours unread.
        Err(error) if error.kind() != io::ErrorKind::ConnectionReset => panic!("it is not closed: {error}"),
        _ => String::from_utf8(answer).expect("text"),
    }
}

fn is_answered(house: &House) -> bool {
    house.get("/v1/health/live").0 == 200
}

#[test]
fn a_head_over_16_kib_or_with_too_many_headers_is_refused() {
    let house = House::ready("");
    let daemon = house.daemon();
    let long = format!("GET /v1/status HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", CANARY.repeat(1024));
    let many = format!("GET /v1/status HTTP/1.1\r\nHost: a\r\n{}\r\n", format!("{CANARY}: {CANARY}\r\n").repeat(200));
    let endless = CANARY.repeat(2048);
    for head in [long, many, endless] {
        let answer = answer_to(&house, head.as_bytes());
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        assert!(is_answered(&house));
    }
    daemon.stop();
}

#[test]
fn a_body_over_64_kib_is_refused_whether_its_length_is_said_or_not() {
    let house = House::ready("");
    let daemon = house.daemon();
    let head = "POST /v1/ingest/plan HTTP/1.1\r\nHost: a\r\n";
    let said = format!("{head}Content-Length: 65537\r\n\r\n");
    let answer = answer_to(&house, said.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("\"body_too_large\""), "{answer}");
    let chunk = format!("8000\r\n{CANARY:a<32768}\r\n");
    let unsaid = format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}{chunk}{chunk}0\r\n\r\n");
    let answer = answer_to(&house, unsaid.as_bytes());
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(is_answered(&house));
    daemon.stop();
}

#[test]
fn who_has_sent_all_and_says_so_is_answered() {
    let house = House::ready("");
    let daemon = house.daemon();
    for _ in 0..100 {
        let mut stream = connect(&house);
        stream.write_all(STATUS).expect("it listens");
        stream.shutdown(Shutdown::Write).expect("a socket");
        assert!(closed(&mut stream).starts_with("HTTP/1.1 200 "));
    }
    daemon.stop();
}

#[test]
fn who_sends_half_a_head_half_a_body_or_nothing_is_closed_and_who_reads_nothing_too() {
    let house = House::ready("");
    let daemon = house.daemon();
    let mut waiting: Vec<_> =
        ["", "GET /v1/status HTTP/1.1\r\nHos", "POST /v1/ingest/plan HTTP/1.1\r\nContent-Length: 9\r\n\r\n{"]
            .map(|part| {
                let mut stream = connect(&house);
                stream.write_all(part.as_bytes()).expect("the daemon reads");
                stream
            })
            .into();
    // Asks until neither side takes any more, and never reads.
    let mut deaf = connect(&house);
    deaf.set_nonblocking(true).expect("a socket");
    while deaf.write(STATUS).is_ok() {}
    // One that is idle after its answer.
    let mut idle = connect(&house);
    idle.write_all(STATUS).expect("the daemon reads");
    waiting.push(idle);
    assert!(is_answered(&house));
    let answers: Vec<_> = waiting.iter_mut().map(closed).collect();
    assert!(answers[2].starts_with("HTTP/1.1 408 ") && answers[2].contains("\"body_too_slow\""), "{}", answers[2]);
    assert!(answers[3].starts_with("HTTP/1.1 200 "), "{}", answers[3]);
    // That the daemon has closed shows in that it takes nothing any more.
    deaf.set_nonblocking(false).expect("a socket");
    let error = loop {
        if let Err(error) = deaf.write(STATUS) {
            break error;
        }
    };
    assert!(matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset), "{error}");
    daemon.stop();
}

#[test]
fn one_user_has_256_connections_idle_ones_too_and_a_place_that_is_given_back_is_given_again() {
    let house = House::ready("");
    let mut daemon = house.daemon();
    let mut open: Vec<_> = (0..PLACES).map(|_| connect(&house)).collect();
    for stream in &mut open {
        stream.write_all(STATUS).expect("the daemon reads");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 200");
    }
    assert_eq!(answer_to(&house, STATUS), "", "it is closed at once");
    open[7].shutdown(Shutdown::Both).expect("a socket");
    daemon.wait("a place", || {
        let mut stream = connect(&house);
        stream.write_all(STATUS).ok()?;
        stream.read_exact(&mut [0; 12]).ok()
    });
    daemon.stop();
}
