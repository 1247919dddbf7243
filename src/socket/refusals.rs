//! The last refusals, in memory: what an operator looks at first. The audit log has them all, so they come no faster than
//! it may grow.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{Response, StatusCode},
};
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::{Api, answer, routes::Asked};
use crate::{
    audit::{Action, Target},
    authentication::AuthenticationId,
    policy::{Caller, Grant, Refusal, What},
};

/// How many are kept.
const KEPT: usize = 100;

/// How many refusals a user gets as fast as it asks, and after how long one more. Each is recorded before it is answered: a
/// user who is granted nothing could fill the disk otherwise, and then nobody is answered.
const AT_ONCE: u32 = 1_000;
const ONE_MORE: Duration = Duration::from_secs(1);

/// The last refusals, the newest in front. Cheap to clone.
#[derive(Clone, Default)]
pub struct Refusals(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    last: VecDeque<Refused>,
    /// When each user has all of [`AT_ONCE`] again.
    even: HashMap<u32, Instant>,
    /// All there were.
    all: u64,
}

/// One refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// When.
    pub time: Timestamp,
    /// What was asked for.
    pub action: Action,
    /// The caller's user.
    pub uid: u32,
    /// Its unit of the system's systemd, where that is known.
    pub unit: Option<String>,
    /// The authentication that was named.
    pub authentication: Option<AuthenticationId>,
    /// Why, as a word.
    pub reason: &'static str,
    /// Under which the audit log has the rest.
    pub request_id: Uuid,
}

/// The word for a refusal: what counts it, and what shows it.
pub(super) fn word(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NoRule => "no_rule",
        Refusal::OtherFields => "other_fields",
        Refusal::TooOften => "too_often",
        Refusal::Vanished => "vanished",
        Refusal::BesideGuarded => "beside_guarded",
        Refusal::WorkflowGuard => "workflow_guard",
    }
}

impl Refusals {
    fn add(&self, refused: Refused) {
        let (mut kept, now) = (self.kept(), Instant::now());
        kept.even.retain(|_, even| *even > now);
        *kept.even.entry(refused.uid).or_insert(now) += ONE_MORE;
        kept.last.truncate(KEPT - 1);
        kept.last.push_front(refused);
        kept.all += 1;
    }

    /// Where a user was refused too often, waits until one more is due. Its answer is what waits: whoever hangs up meanwhile
    /// does not get its place on the socket back any sooner.
    pub(super) async fn pause(&self, uid: u32) {
        let even = self.kept().even.get(&uid).copied();
        if let Some(due) = even.and_then(|even| even.checked_sub(ONE_MORE * AT_ONCE)) {
            sleep_until(due).await;
        }
    }

    /// How many there were since the start: whoever shows the last ones asks for them when this changes.
    pub(super) fn count(&self) -> u64 {
        self.kept().all
    }

    fn last(&self) -> Vec<Refused> {
        self.kept().last.iter().cloned().collect()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asked<'_> {
    /// Counts a refusal, and keeps it for a while. It is recorded besides.
    pub(super) fn note_refusal(&self, action: Action, target: &Target, reason: &'static str) {
        self.api.metrics.refused(reason);
        self.api.refusals.add(Refused {
            time: Timestamp::now(),
            action,
            uid: self.caller().uid,
            unit: self.caller().unit().map(str::to_owned),
            authentication: target.authentication,
            reason,
            request_id: self.id(),
        });
    }
}

/// Who was refused what lately, for whom every authentication is theirs to manage.
pub(super) async fn list(State(api): State<Arc<Api>>, Extension(caller): Extension<Arc<Caller>>) -> Response<Body> {
    #[derive(Serialize)]
    struct List {
        refusals: Vec<Refused>,
    }
    let asked = Asked::new(&api, caller);
    let decision = asked.policy().take(asked.caller(), Grant::Manage, What::Everything);
    let allowed = asked.decided(Action::ListRefusals, decision);
    asked.answer(allowed.map(|()| answer::json(StatusCode::OK, asked.id(), &List { refusals: api.refusals.last() })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(uid: u32) -> Refused {
        Refused {
            time: Timestamp::UNIX_EPOCH,
            action: Action::Read,
            uid,
            unit: None,
            authentication: None,
            reason: "no_rule",
            request_id: Uuid::nil(),
        }
    }

    /// How many seconds it waits.
    async fn pause(refusals: &Refusals, uid: u32) -> u64 {
        let start = Instant::now();
        refusals.pause(uid).await;
        start.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_a_thousand_a_user_is_refused_once_a_second() {
        let refusals = Refusals::default();
        (0..AT_ONCE).for_each(|_| refusals.add(of(1)));
        assert_eq!(pause(&refusals, 1).await, 0);
        for _ in 0..3 {
            refusals.add(of(1));
            assert_eq!(pause(&refusals, 1).await, 1);
        }
        // All that ask at once wait for as many.
        (0..5).for_each(|_| refusals.add(of(1)));
        assert_eq!(pause(&refusals, 1).await, 5);
        refusals.add(of(2));
        assert_eq!(pause(&refusals, 2).await, 0, "another user's");
        tokio::time::advance(ONE_MORE * AT_ONCE).await;
        (0..AT_ONCE).for_each(|_| refusals.add(of(1)));
        assert_eq!(pause(&refusals, 1).await, 0);
    }

    #[test]
    fn the_newest_are_kept() {
        let refusals = Refusals::default();
        (0..250).for_each(|uid| refusals.add(of(uid)));
        let uids: Vec<_> = refusals.last().iter().map(|refused| refused.uid).collect();
        assert_eq!((uids, refusals.count()), ((150..250).rev().collect::<Vec<_>>(), 250));
    }
}
