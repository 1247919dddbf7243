//! The last refusals, in memory: what an operator looks at first. The audit log has them all.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{Response, StatusCode},
};
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::{Api, answer, asked::Asked};
use crate::{
    audit::{Action, Target},
    authentication::AuthenticationId,
    policy::{Caller, Grant, Refusal, What},
};

/// How many are kept.
const KEPT: usize = 100;

/// The last refusals, the newest in front. Cheap to clone.
#[derive(Clone, Default)]
pub struct Refusals(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    last: VecDeque<Refused>,
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
        let mut kept = self.kept();
        kept.last.truncate(KEPT - 1);
        kept.last.push_front(refused);
        kept.all += 1;
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

    #[test]
    fn the_newest_are_kept() {
        let refusals = Refusals::default();
        for uid in 0..250 {
            refusals.add(Refused {
                time: Timestamp::UNIX_EPOCH,
                action: Action::Read,
                uid,
                unit: None,
                authentication: None,
                reason: "no_rule",
                request_id: Uuid::nil(),
            });
        }
        let uids: Vec<_> = refusals.last().iter().map(|refused| refused.uid).collect();
        assert_eq!((uids, refusals.count()), ((150..250).rev().collect::<Vec<_>>(), 250));
    }
}
