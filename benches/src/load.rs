//! The load of the socket's benches: one thread that keeps many connections busy, each with one request at a time, and
//! costs as little as it can. It is the same for whatever server it asks.

use std::{
    io::{self, Read, Write},
    path::Path,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::UnixStream};
use trayvault::authentication::AuthenticationId;

/// Larger than any answer that is asked for here.
const ANSWER: usize = 16 * 1024;
/// How long an answer may take. Reached only by a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// The requests for what is held in full, one for each id.
pub fn reads(ids: &[AuthenticationId]) -> Vec<Vec<u8>> {
    let read = |id| format!("GET /v1/authentications/{id}/full HTTP/1.1\r\nHost: trayvault\r\n\r\n").into_bytes();
    ids.iter().map(read).collect()
}

/// Connections that stay open.
pub struct Load {
    poll: Poll,
    connections: Vec<Connection>,
    random: fastrand::Rng,
}

struct Connection {
    stream: UnixStream,
    answer: Vec<u8>,
    /// How much of the answer is here.
    len: usize,
    asked: Instant,
}

/// What was measured of a load.
#[derive(Default)]
pub struct Measured {
    /// How long each answer took, in ascending order.
    latencies: Vec<Duration>,
    took: Duration,
}

impl Load {
    /// Opens so many connections.
    pub fn connect(socket: &Path, connections: usize) -> Self {
        let poll = Poll::new().expect("an epoll");
        let connect = |number| {
            let stream = std::os::unix::net::UnixStream::connect(socket).expect("the server listens");
            stream.set_nonblocking(true).expect("a socket");
            let mut stream = UnixStream::from_std(stream);
            poll.registry().register(&mut stream, Token(number), Interest::READABLE).expect("a registration");
            Connection { stream, answer: vec![0; ANSWER], len: 0, asked: Instant::now() }
        };
        let connections = (0..connections).map(connect).collect();
        Self { poll, connections, random: fastrand::Rng::with_seed(1) }
    }

    /// Has every connection ask again and again, in no order, until the time is over and all is answered.
    pub fn run(&mut self, requests: &[Vec<u8>], time: Duration) -> Measured {
        let mut next = || &requests[self.random.usize(..requests.len())];
        let start = Instant::now();
        self.connections.iter_mut().for_each(|connection| connection.ask(next()));
        let (mut latencies, mut open) = (Vec::new(), self.connections.len());
        let mut events = Events::with_capacity(self.connections.len());
        while open > 0 {
            self.poll.poll(&mut events, Some(PATIENCE)).expect("events");
            assert!(!events.is_empty(), "every request is answered");
            for event in &events {
                let connection = &mut self.connections[event.token().0];
                if connection.is_answered() {
                    latencies.push(connection.asked.elapsed());
                    if start.elapsed() < time {
                        connection.ask(next());
                    } else {
                        open -= 1;
                    }
                }
            }
        }
        let took = start.elapsed();
        latencies.sort_unstable();
        Measured { latencies, took }
    }
}

impl Connection {
    fn ask(&mut self, request: &[u8]) {
        self.asked = Instant::now();
        self.len = 0;
        // Nothing else is on its way, so the socket takes all of it.
        self.stream.write_all(request).expect("the server listens");
    }

    /// Reads what is there; whether the answer is whole.
    fn is_answered(&mut self) -> bool {
        loop {
            match self.stream.read(&mut self.answer[self.len..]) {
                Ok(0) => panic!("the server closed the connection"),
                Ok(len) => self.len += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) => panic!("{error}"),
            }
            if is_whole(&self.answer[..self.len]) {
                return true;
            }
        }
    }
}

fn is_whole(answer: &[u8]) -> bool {
    let Some(head) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return false };
    let text = std::str::from_utf8(&answer[..head]).expect("a head is text");
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    let len = text.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().expect("a number"))
    });
    answer.len() >= head + 4 + len.expect("the body's length")
}

impl Measured {
    /// Answers in a second.
    #[expect(clippy::cast_precision_loss, reason = "answers are few")]
    pub fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }

    /// The latency that so many percent of the answers were within.
    pub fn quantile(&self, percent: usize) -> Duration {
        self.latencies[self.latencies.len() * percent / 100]
    }
}

/// The median of what was measured again and again.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
