//! What systemd hears: sd_notify(3), its socket played by the test. Under a real one: tests/systemd.

use std::{cell::RefCell, fs::File, io, os::unix::net::UnixDatagram};

use rustix::process::Signal;

use trayvault::system::{
    process,
    sandbox::{self, Sandbox},
};

use crate::support::{Daemon, House, OPEN};

/// systemd's end.
struct Manager {
    socket: UnixDatagram,
    heard: RefCell<Vec<String>>,
}

impl Manager {
    fn new(house: &House) -> Self {
        let socket = UnixDatagram::bind(house.path("notify")).expect("a socket");
        socket.set_nonblocking(true).expect("a socket");
        Self { socket, heard: RefCell::default() }
    }

    /// Starts a daemon that tells this manager, which wants to hear from it at least as often.
    fn daemon<'a>(&self, house: &'a House, watchdog: &str) -> Daemon<'a> {
        let address = self.socket.local_addr().expect("an address");
        let socket = address.as_pathname().and_then(|path| path.to_str()).expect("a path");
        let environment = [("NOTIFY_SOCKET", socket), ("WATCHDOG_USEC", watchdog)];
        house.daemon_in(&environment, &[])
    }

    /// What has come since it was last asked.
    fn news(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(length) => {
                    let message = String::from_utf8(buffer[..length].to_vec()).expect("text");
                    self.heard.borrow_mut().push(message);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.heard.take(),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Waits for one that begins so; what came before it is forgotten, and what comes after is kept.
    #[track_caller]
    fn hears(&self, daemon: &mut Daemon<'_>, start: &str) -> String {
        daemon.wait(start, || {
            let mut news = self.news();
            let found = news.iter().position(|message| message.starts_with(start))?;
            self.heard.replace(news.split_off(found + 1));
            news.pop()
        })
    }
}

#[test]
fn systemd_hears_when_it_is_ready_how_it_stands_and_when_it_reloads_and_stops() {
    let mut house = House::ready(OPEN);
    // Ready is what answers from the cache: Tray is not waited for.
    house.stop_emulator();
    let manager = Manager::new(&house);
    let mut daemon = manager.daemon(&house, "60000000");
    let first = daemon.wait("a word", || manager.news().into_iter().next());
    assert!(["READY=1\n", "STATUS=0 of 0 authentications held in full\n"].contains(&&*first), "{first:?}");
    let (_, status) = house.get("/v1/status");
    // Who sees the executables of others, as root does, goes on seeing them.
    let confined = if process::sees_executables() { Sandbox::None } else { sandbox::offered() };
    assert_eq!(status["landlock"], serde_json::to_value(confined).expect("JSON"));
    daemon.signal(Signal::HUP);
    let reloading = manager.hears(&mut daemon, "RELOADING=1");
    let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("with the time, in one message");
    assert!(time.trim_end().parse::<u64>().expect("microseconds") > 0);
    assert_eq!(manager.hears(&mut daemon, "READY=1"), "READY=1\n");
    daemon.signal(Signal::TERM);
    manager.hears(&mut daemon, "STOPPING=1");
    assert_eq!(daemon.ended(), Some(0));
}

#[test]
fn the_status_line_has_counts_and_no_names() {
    let house = House::ready(OPEN);
    let manager = Manager::new(&house);
    let mut daemon = manager.daemon(&house, "400000");
    manager.hears(&mut daemon, "READY=1");
    assert_eq!(manager.hears(&mut daemon, "STATUS=8 of"), "STATUS=8 of 8 authentications held in full\n");
    daemon.stop();
}

#[test]
fn the_watchdog_is_fed_only_while_the_audit_log_goes_on() {
    let house = House::ready(OPEN);
    let manager = Manager::new(&house);
    let mut daemon = manager.daemon(&house, "400000");
    for _ in 0..3 {
        manager.hears(&mut daemon, "WATCHDOG=1");
    }
    let log = File::open(house.path("state/audit/audit.jsonl")).expect("a log");
    log.lock().expect("a lock");
    let stuck = || house.log().matches("does not go on").count();
    daemon.wait("a stuck log", || (stuck() == 1).then_some(()));
    manager.news();
    daemon.wait("a log that is still stuck", || (stuck() >= 3).then_some(()));
    assert!(!manager.news().iter().any(|message| message.starts_with("WATCHDOG=1")));
    assert!(house.log().contains("\"part\":\"audit log\""), "{}", house.log());
    log.unlock().expect("a lock");
    manager.hears(&mut daemon, "WATCHDOG=1");
    daemon.stop();
}
