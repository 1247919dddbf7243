//! `trayvault top`: the daemon's status as a live view.

mod state;
#[cfg(test)]
mod tests;
mod text;
mod view;

use std::{
    io::{self, IsTerminal},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    time::{Duration, Instant},
};

use clap::Args;
use hyper::Method;
use jiff::{SignedDuration, Timestamp};
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use serde::Deserialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use self::state::{Do, Key, News, Refused, State};
use super::{Code, Connected, Failure, api};

/// How soon a signal, or what the daemon says, is noticed.
const GLANCE: Duration = Duration::from_millis(50);

/// How long what was refused is not asked for again: each time is an entry in the audit log.
const REFUSED_PAUSE: Duration = Duration::from_secs(300);

/// The shortest `--interval`.
const SHORTEST: Duration = Duration::from_millis(100);

/// What `--help` adds.
const HELP: &str = "\
It needs 60 columns and 20 lines, and shows more on a larger terminal: how Tray answers, the budget of requests, how far
synchronisation is, authentications by state, their ages and expiries, the drop directory, what stands in the way with
what to do about it, and the last refusals, for whom [access] grants \"manage\" on everything.

Keys: q quits, p pauses, s synchronises now (for whom [access] grants \"sync\"), Tab goes to the other list and the arrow
keys scroll it, ? shows all keys. A daemon that is locked or not there is shown as that, and asked again. NO_COLOR in the
environment turns colours off.";

#[derive(Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    #[command(flatten)]
    connected: Connected,
    /// The time from one look to the next, such as 500ms, 2s or 1m
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
}

fn interval(text: &str) -> Result<Duration, String> {
    let span: SignedDuration = text.parse().map_err(|_| "not a span of time such as 500ms, 2s or 1m".to_owned())?;
    let span = Duration::try_from(span).map_err(|_| "a span of time can't be negative".to_owned())?;
    if (SHORTEST..=Duration::from_secs(3_600)).contains(&span) {
        Ok(span)
    } else {
        Err("it has to be between 100ms and 1h".to_owned())
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::new(Code::Usage, "this is for a terminal, and there is none")
            .hint("trayvault status --json is for programs".to_owned()));
    }
    let socket = Some(api::socket_path(&arguments.connected)?);
    let configured = super::Configured { config: arguments.connected.configured.config.clone() };
    let connected = Arc::new(Connected { configured, socket });
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        // The second one ends it whatever it does.
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    // A variable that is there and empty does not count (no-color.org).
    let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    // From here on the terminal is put back as it was, by the panic hook that this sets too.
    let terminal = ratatui::try_init()?;
    let shown = Shown { terminal, state: State::new(arguments.interval, colours), connected };
    let outcome = shown.run(&stop);
    let restored = ratatui::try_restore();
    outcome?;
    Ok(restored?)
}

/// The view on the terminal.
struct Shown {
    terminal: DefaultTerminal,
    state: State,
    connected: Arc<Connected>,
}

impl Shown {
    fn run(mut self, stop: &AtomicBool) -> Result<(), Failure> {
        let (tell, hear) = mpsc::channel();
        let (pause, orders) = mpsc::channel();
        let asking =
            Asking { connected: Arc::clone(&self.connected), interval: self.state.interval, tell: tell.clone() };
        // It ends with the other ends of its channels, or with the process: an answer is not waited for.
        std::thread::Builder::new().name("asking".to_owned()).spawn(move || asking.run(&orders))?;
        let (mut drawn, mut is_more): (Option<Instant>, bool) = (None, false);
        while !stop.load(Ordering::Relaxed) {
            let mut is_new = drawn.is_none_or(|at| at.elapsed() >= Duration::from_secs(1));
            while let Ok(news) = hear.try_recv() {
                self.state.hear(news, Timestamp::now());
                is_new = true;
            }
            if is_new {
                self.draw()?;
                drawn = Some(Instant::now());
            }
            if is_gone(if is_more { Duration::ZERO } else { GLANCE })? {
                // Nobody sees how it ends.
                return Ok(());
            }
            is_more = event::poll(Duration::ZERO)?;
            if !is_more {
                continue;
            }
            let key = match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => meaning(key),
                Event::Resize(..) => {
                    drawn = None;
                    None
                }
                _ => None,
            };
            let Some(key) = key else { continue };
            drawn = None;
            match self.state.press(key, Timestamp::now()) {
                Do::Nothing => {}
                Do::Quit => return Ok(()),
                // Its receiver is there for as long as this one asks.
                Do::Pause(paused) => drop(pause.send(paused)),
                Do::Synchronise => synchronise(Arc::clone(&self.connected), tell.clone())?,
            }
        }
        Ok(())
    }

    fn draw(&mut self) -> Result<(), Failure> {
        let Self { terminal, state, .. } = self;
        terminal.draw(|frame| view::draw(state, Timestamp::now(), frame))?;
        Ok(())
    }
}

/// Waits for a key for so long at most. `true` if the terminal was hung up: crossterm would read its end again and again, and
/// never return.
fn is_gone(wait: Duration) -> Result<bool, Failure> {
    let stdin = io::stdin();
    let mut looked = [PollFd::new(&stdin, PollFlags::IN)];
    let wait = Timespec::try_from(wait).unwrap_or_default();
    match poll(&mut looked, Some(&wait)) {
        // A signal: of those that end it, or of a new size.
        Err(Errno::INTR) => Ok(false),
        looking => {
            looking.map_err(io::Error::from)?;
            Ok(looked[0].revents().intersects(PollFlags::HUP | PollFlags::ERR))
        }
    }
}

fn meaning(key: KeyEvent) -> Option<Key> {
    Some(match key.code {
        KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => Key::Quit,
        KeyCode::Char('q') | KeyCode::Esc => Key::Quit,
        KeyCode::Char('p' | ' ') => Key::Pause,
        KeyCode::Char('s') => Key::Synchronise,
        KeyCode::Char('?' | 'h') => Key::Help,
        KeyCode::Tab | KeyCode::BackTab | KeyCode::Left | KeyCode::Right => Key::NextPanel,
        KeyCode::Up | KeyCode::Char('k') => Key::Up,
        KeyCode::Down | KeyCode::Char('j') => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Top,
        _ => return None,
    })
}

/// Asks for a cycle, and for its report, which takes as long as it takes.
fn synchronise(connected: Arc<Connected>, tell: Sender<News>) -> Result<(), Failure> {
    let ask = move || {
        // Nobody hears it once the view is closed.
        let _ = tell.send(News::Synchronised(api::ask(&connected, Method::POST, "/v1/sync").map(Box::new)));
    };
    std::thread::Builder::new().name("synchronising".to_owned()).spawn(ask)?;
    Ok(())
}

/// Asks the daemon again and again.
struct Asking {
    connected: Arc<Connected>,
    interval: Duration,
    tell: Sender<News>,
}

impl Asking {
    fn run(self, orders: &Receiver<bool>) {
        // How many refusals there were when the last ones were asked for.
        let (mut asked_at, mut refused): (Option<u64>, Option<Instant>) = (None, None);
        loop {
            let is_refused = refused.is_some_and(|at| at.elapsed() < REFUSED_PAUSE);
            let status: Result<Box<_>, _> =
                api::ask::<super::status::Status>(&self.connected, Method::GET, "/v1/status").map(Box::new);
            let count = status.as_ref().ok().map(|status| status.refusals);
            let is_allowed = !matches!(&status, Err(failure) if failure.code == Code::NoPermission);
            if self.tell.send(News::Status(status)).is_err() {
                return;
            }
            if count.is_none() {
                asked_at = None;
            } else if count != asked_at && !is_refused {
                let refusals = self.refusals();
                refused = matches!(&refusals, Err(failure) if failure.code == Code::NoPermission).then(Instant::now);
                // Where they were refused, that is one more.
                asked_at = count.filter(|_| refusals.is_ok());
                if self.tell.send(News::Refusals(refusals)).is_err() {
                    return;
                }
            }
            let pause = if is_allowed { self.interval } else { REFUSED_PAUSE.max(self.interval) };
            match orders.recv_timeout(pause) {
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
                Ok(mut paused) => {
                    while paused {
                        match orders.recv() {
                            Ok(now) => paused = now,
                            Err(_) => return,
                        }
                    }
                }
            }
        }
    }

    fn refusals(&self) -> Result<Vec<Refused>, Failure> {
        #[derive(Deserialize)]
        struct List {
            refusals: Vec<Refused>,
        }
        api::ask::<List>(&self.connected, Method::GET, "/v1/refusals").map(|list| list.refusals)
    }
}
