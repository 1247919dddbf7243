//! Looking whether values changed: soon after there was news, and again if it could not be done.

use std::{
    future::pending,
    io::{self, Write},
    path::Path,
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::{
    super::{Code, Failure},
    news::News,
    values,
    wanted::Wanted,
};
use crate::secret::SecretBytes;

/// Changes that come within this are one, if they don't go on for longer than `LONGEST_BURST`.
const BURST: Duration = Duration::from_secs(1);
const LONGEST_BURST: Duration = Duration::from_secs(10);

/// The wait before values that could not be had are asked for again; twice as long each time, up to the longest.
const RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(300);

/// When the values are looked at next, and the look that is under way.
#[derive(Default)]
pub(super) struct Look {
    /// When the first news came of what was not looked at yet.
    first: Option<Instant>,
    due: Option<Instant>,
    under_way: Option<JoinHandle<Result<Vec<SecretBytes>, Failure>>>,
    /// The wait before the next try, if the last one failed.
    retry: Option<Duration>,
}

impl Look {
    /// When it is time for one.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| self.under_way.is_none())
    }

    pub(super) fn hear(&mut self, news: News) {
        match news {
            News::Lost(failure) => {
                goes_on(&failure);
                return;
            }
            News::Back => say("the daemon answers again"),
            News::Happened => {}
        }
        let now = Instant::now();
        let first = *self.first.get_or_insert(now);
        self.due = Some((now + BURST).min(first + LONGEST_BURST));
    }

    pub(super) fn begin(&mut self, socket: &Arc<Path>, wanted: &Arc<[Wanted]>) {
        (self.first, self.due) = (None, None);
        let (socket, wanted) = (Arc::clone(socket), Arc::clone(wanted));
        self.under_way = Some(tokio::spawn(async move { values::read(&socket, &wanted).await }));
    }

    /// What the look that is under way found.
    pub(super) async fn end(&mut self) -> Result<Vec<SecretBytes>, Failure> {
        let Some(under_way) = &mut self.under_way else { return pending().await };
        let looked = under_way.await;
        self.under_way = None;
        looked.unwrap_or_else(|_| Err(Failure::new(Code::Software, "the values could not be read")))
    }

    /// Tries again later.
    pub(super) fn failed(&mut self, failure: &Failure) {
        let wait = self.retry.map_or(RETRY, |last| (last * 2).min(LONGEST_RETRY));
        let later = Instant::now() + wait;
        self.due = Some(self.due.map_or(later, |due| due.min(later)));
        if self.retry.replace(wait).is_none() {
            goes_on(failure);
        }
    }

    pub(super) fn succeeded(&mut self) {
        if self.retry.take().is_some() {
            say("the values can be had again");
        }
    }
}

/// Sleeps until a time, for ever if there is none.
pub(super) async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

fn goes_on(failure: &Failure) {
    say(&format!("the command goes on with what it has: {}", failure.message));
}

/// Says something among what the command says.
pub(super) fn say(text: &str) {
    // Nothing can be said if standard error is closed.
    let _ = writeln!(io::stderr().lock(), "trayvault: {text}");
}
