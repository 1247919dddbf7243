//! What `trayvault top` shows: what the daemon said last, and what was pressed. Pure; time is a parameter.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::super::{Code, Failure, status::Status};
use crate::status::{CycleReport, Problem};

/// For how long a notice is shown.
const NOTICED_SECONDS: i64 = 15;

/// What is shown.
pub(super) struct State {
    pub(super) interval: Duration,
    /// Whether colours may be used.
    pub(super) colours: bool,
    /// What the daemon said last.
    pub(super) seen: Option<Seen>,
    /// Why it does not say anything now.
    pub(super) trouble: Option<Problem>,
    pub(super) refusals: Refusals,
    /// What became of a synchronisation that was asked for here, and when.
    pub(super) noticed: Option<(String, Timestamp)>,
    pub(super) is_paused: bool,
    pub(super) shows_help: bool,
    pub(super) panel: Panel,
    /// How far each panel is scrolled, in lines; the view keeps it within what there is.
    pub(super) scrolled: [usize; 2],
}

/// One answer.
pub(super) struct Seen {
    pub(super) at: Timestamp,
    pub(super) status: Status,
    /// Requests to Tray a second, since the answer before.
    pub(super) rate: Option<f64>,
}

/// The panels that scroll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Panel {
    Problems = 0,
    Refusals = 1,
}

/// The last refusals, as far as they may be seen.
#[derive(Debug)]
pub(super) enum Refusals {
    NotAsked,
    /// They are for whoever is granted `manage` on everything.
    Withheld,
    Known(Vec<Refused>),
}

/// One refusal, as the daemon shows it.
#[derive(Debug, Deserialize)]
pub(super) struct Refused {
    pub(super) time: Timestamp,
    pub(super) action: String,
    pub(super) uid: u32,
    pub(super) unit: Option<String>,
    pub(super) authentication: Option<String>,
    pub(super) reason: String,
}

/// What the daemon said, or why it did not.
pub(super) enum News {
    Status(Result<Box<Status>, Failure>),
    Refusals(Result<Vec<Refused>, Failure>),
    Synchronised(Result<Box<CycleReport>, Failure>),
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Quit,
    Pause,
    Synchronise,
    Help,
    NextPanel,
    Up,
    Down,
    PageUp,
    PageDown,
    Top,
}

/// What is to be done about a key, besides showing it.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Do {
    Nothing,
    Quit,
    Pause(bool),
    Synchronise,
}

impl State {
    pub(super) fn new(interval: Duration, colours: bool) -> Self {
        Self {
            interval,
            colours,
            seen: None,
            trouble: None,
            refusals: Refusals::NotAsked,
            noticed: None,
            is_paused: false,
            shows_help: false,
            panel: Panel::Problems,
            scrolled: [0; 2],
        }
    }

    /// Takes in what the daemon said.
    pub(super) fn hear(&mut self, news: News, now: Timestamp) {
        match news {
            News::Status(Ok(status)) => {
                let rate = self.seen.as_ref().and_then(|before| rate(before, &status, now));
                self.seen = Some(Seen { at: now, status: *status, rate });
                self.trouble = None;
            }
            News::Status(Err(failure)) => {
                self.trouble = Some(Problem { what: failure.message, hint: failure.hint });
            }
            News::Refusals(Ok(refusals)) => self.refusals = Refusals::Known(refusals),
            News::Refusals(Err(failure)) if failure.code == Code::NoPermission => self.refusals = Refusals::Withheld,
            News::Refusals(Err(_)) => {}
            News::Synchronised(Ok(report)) => {
                self.noticed = Some((format!("synchronised: {} pulled, {} failed", report.pulled, report.failed), now));
            }
            News::Synchronised(Err(failure)) => {
                self.noticed = Some((format!("not synchronised: {}", failure.message), now));
            }
        }
    }

    /// Takes in a key.
    pub(super) fn press(&mut self, key: Key, now: Timestamp) -> Do {
        let scrolled = &mut self.scrolled[self.panel as usize];
        match key {
            Key::Quit if self.shows_help => self.shows_help = false,
            Key::Quit => return Do::Quit,
            Key::Pause => {
                self.is_paused = !self.is_paused;
                return Do::Pause(self.is_paused);
            }
            Key::Synchronise => {
                self.noticed = Some(("a synchronisation is asked for".to_owned(), now));
                return Do::Synchronise;
            }
            Key::Help => self.shows_help = !self.shows_help,
            Key::NextPanel => {
                self.panel = match self.panel {
                    Panel::Problems => Panel::Refusals,
                    Panel::Refusals => Panel::Problems,
                }
            }
            Key::Up => *scrolled = scrolled.saturating_sub(1),
            Key::Down => *scrolled = scrolled.saturating_add(1),
            Key::PageUp => *scrolled = scrolled.saturating_sub(10),
            Key::PageDown => *scrolled = scrolled.saturating_add(10),
            Key::Top => *scrolled = 0,
        }
        Do::Nothing
    }

    /// What just happened.
    pub(super) fn notice(&self, now: Timestamp) -> Option<&str> {
        let is_new = |at: Timestamp| now.duration_since(at).as_secs() < NOTICED_SECONDS;
        self.noticed.as_ref().filter(|(_, at)| is_new(*at)).map(|(notice, _)| notice.as_str())
    }

    /// Everything that stands in the way, what concerns this view itself in front.
    pub(super) fn problems(&self) -> Vec<&Problem> {
        let posted = self.seen.iter().map(|seen| &seen.status.posted);
        let known = posted.flat_map(|posted| {
            let of_sync = posted.sync.last.iter().flat_map(|last| &last.problems);
            posted.problems.iter().chain(of_sync).chain(&posted.ingest.problems)
        });
        self.trouble.iter().chain(known).collect()
    }
}

/// Requests a second between two answers of the same daemon.
fn rate(before: &Seen, status: &Status, now: Timestamp) -> Option<f64> {
    let (then, posted) = (&before.status.posted, &status.posted);
    let sent = posted.tray.requests.total().checked_sub(then.tray.requests.total())?;
    let seconds = now.duration_since(before.at).as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    (then.started_at == posted.started_at && seconds > 0.0).then_some(sent as f64 / seconds)
}
