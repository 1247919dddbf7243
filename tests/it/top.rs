//! `trayvault top` on a terminal.

use std::{
    fs::File,
    io::Read,
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    support::{House, OPEN},
    terminal::terminal,
};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn it_ends_when_its_terminal_is_hung_up() {
    let house = House::ready(OPEN);
    // With the terminal as its own it gets a SIGHUP (setsid(1) does that), and otherwise nobody tells it.
    for program in [&["setsid", "--ctty", "--wait"][..], &[]] {
        let (ours, side) = terminal();
        let words: Vec<_> = program.iter().copied().chain([env!("CARGO_BIN_EXE_trayvault"), "top"]).collect();
        let mut command = house.command(Path::new(words[0]));
        command.args(&words[1..]).stdin(side.try_clone().expect("a descriptor")).stdout(side);
        let mut child = command.spawn().expect("it starts");
        // What is dropped with it: the other side, which is the child's alone.
        drop(command);
        let (mut ours, mut seen) = (File::from(ours), Vec::new());
        while !String::from_utf8_lossy(&seen).contains("no daemon answers") {
            let mut part = [0; 4096];
            let read = ours.read(&mut part).expect("what it shows");
            seen.extend_from_slice(&part[..read]);
        }
        house.capture("the terminal of top", &seen);
        drop(ours);
        let deadline = Instant::now() + PATIENCE;
        while child.try_wait().expect("a child").is_none() {
            if Instant::now() > deadline {
                child.kill().expect("a child");
                panic!("it goes on");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
