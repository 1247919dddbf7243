//! Attends to what people ask about documents that are not finished.

use std::{collections::HashMap, path::Path, sync::Arc};

use uuid::Uuid;

use super::{
    claim::{Opened, Permitted, Unread},
    contents,
    intent::{Effect, Follows, Intent, Rejected, Sent, Slip, Unfinished},
    journal::Contents,
    lane::Lane,
    layout::Layout,
    plan::Obstacle,
    refusal::{Kind, Refusal},
    upstream::{Progress, Upstream},
};
use crate::{
    audit::{Action, Event, Outcome, Target},
    authentication::{AuthenticationId, Owner},
    clauses::clauses,
    requests::ingest::{
        Answer, IngestRefusal, IngestRequest, IntentState, Order, Preview, Settled, SettledAs, Unfinished as Shown,
    },
    secret::SecretBytes,
    status::Problem,
};

/// The largest rejected file that is opened, in bytes.
const OPENED_AT_MOST: u64 = 32 * 1024 * 1024;

/// Who attends.
#[derive(Clone)]
pub(super) struct Attendant {
    pub(super) upstream: Arc<Upstream>,
}

/// Where a document stands after an order.
#[derive(Clone, Debug)]
pub(super) enum Attended {
    /// At its end.
    Settled(Uuid),
    /// In line, and due.
    GoesOn(Uuid, Lane),
    /// In line, as it was.
    Stays(Uuid),
    /// Held, as it was.
    Held(Uuid),
    /// Damaged, as it was.
    Damaged(Uuid),
}

type Decided = Result<(SettledAs, Attended), IngestRefusal>;

impl Attendant {
    /// Why a document can't be taken for an order.
    pub(super) fn why_not(is_in_line: bool) -> IngestRefusal {
        if is_in_line {
            IngestRefusal::Conflict("it is being worked on, or waits for an earlier one of its owner")
        } else {
            IngestRefusal::NotFound
        }
    }

    /// Carries an order out on a document that nobody else works on; where it is left as it is, it stands as before.
    pub(super) async fn settle(&self, id: Uuid, order: Order, before: Attended, answer: Answer<Settled>) -> Attended {
        let decided = match before {
            Attended::Damaged(_) => self.decide_damaged(id, order).await,
            _ => self.decide(id, order).await,
        };
        let (answered, stands) = match decided {
            Ok((outcome, stands)) => (Ok(Settled { intent: id, outcome }), stands),
            Err(IngestRefusal::NotFound) => (Err(IngestRefusal::NotFound), Attended::Settled(id)),
            Err(refusal) => (Err(refusal), self.still(id, before).await),
        };
        if matches!(stands, Attended::Settled(_)) {
            self.upstream.turns.end(id);
        }
        let _ = answer.send(answered);
        stands
    }

    /// Where one stands upon whom an order failed: it may have been decided, and only its outcome not be written.
    async fn still(&self, id: Uuid, before: Attended) -> Attended {
        let Attended::Held(_) = before else { return before };
        match self.upstream.journal.intent(id).await {
            Ok(Some(Unfinished::Held(_))) => before,
            Ok(Some(decided)) => Attended::GoesOn(id, decided.slip().lane.clone()),
            Ok(None) => Attended::Settled(id),
            // Whoever goes on with it finds out.
            Err(_) => Attended::GoesOn(id, Lane::default()),
        }
    }

    async fn decide(&self, id: Uuid, order: Order) -> Decided {
        const AT_ITS_END: &str = "it is at its end, and only its outcome is to be written";
        match self.upstream.journal.intent(id).await {
            Ok(Some(Unfinished::Journaled(intent))) => match order {
                Order::Retry => Ok(goes_on(&intent.slip)),
                Order::Discard => self.discard(intent, None, "it was discarded before it was sent").await,
                Order::Adopt(_) => Err(IngestRefusal::Conflict("nothing was sent: there is nothing to adopt")),
            },
            Ok(Some(Unfinished::Sent(intent))) => match order {
                Order::Retry => Ok(goes_on(&intent.slip)),
                Order::Adopt(found) => {
                    let sent = intent.state.clone();
                    self.adopt(intent, sent, found).await
                }
                Order::Discard => {
                    let owner = intent.state.owner.clone();
                    self.discard(intent, Some(owner), "it was discarded, and may have been sent").await
                }
            },
            Ok(Some(Unfinished::Held(intent))) => match order {
                Order::Retry => {
                    let journaled = self.upstream.journal.advance(intent, super::intent::Journaled {}).await;
                    Ok(goes_on(&journaled.map_err(unavailable)?.slip))
                }
                Order::Adopt(found) => {
                    let sent = intent.state.sent.clone();
                    self.adopt(intent, sent, found).await
                }
                Order::Discard => {
                    let owner = intent.state.sent.owner.clone();
                    self.discard(intent, Some(owner), "it was discarded, and may have been sent").await
                }
            },
            Ok(Some(_)) => Err(IngestRefusal::Conflict(AT_ITS_END)),
            Ok(None) => Err(IngestRefusal::NotFound),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Takes an authentication for what a document became, if its owner has it.
    async fn adopt<S>(&self, intent: Intent<S>, sent: Sent, found: AuthenticationId) -> Decided
    where
        super::intent::Acked: Follows<S>,
    {
        if sent.operation.authentication().is_some() {
            return Err(IngestRefusal::Conflict("it creates nothing: there is nothing to adopt"));
        }
        let session = self.upstream.planner.principals.session(&sent.owner).await;
        let session = session.map_err(unavailable)?;
        let listed = self.upstream.planner.list(&session).await.map_err(|obstacle| {
            IngestRefusal::Unavailable(match obstacle {
                Obstacle::Refused(refusal) => refusal.reason,
                Obstacle::Later(problem) => problem,
                Obstacle::TokenRejected => "Tray does not accept the owner's token".to_owned(),
            })
        })?;
        if listed.iter().all(|one| one.id != found) {
            return Err(IngestRefusal::Bad("the document's owner has no such authentication"));
        }
        let id = intent.slip.id;
        let adopted = self.upstream.acknowledge(intent, sent, Effect::Adopted, found).await;
        adopted.map_err(unavailable)?;
        Ok((SettledAs::Adopted, Attended::Settled(id)))
    }

    async fn discard<S>(&self, intent: Intent<S>, owner: Option<Owner>, reason: &str) -> Decided
    where
        Rejected: Follows<S>,
    {
        let id = intent.slip.id;
        let discarded = self.upstream.refuse(intent, owner, Refusal::new(Kind::Discarded, reason)).await;
        match discarded.map_err(unavailable)? {
            Progress::Rejected => Ok((SettledAs::Discarded, Attended::Settled(id))),
            _ => unreachable!("what is refused is rejected"),
        }
    }

    async fn decide_damaged(&self, id: Uuid, order: Order) -> Decided {
        if order != Order::Discard {
            return Err(IngestRefusal::Conflict("it is damaged, and can only be discarded"));
        }
        let because = Kind::Discarded.clause();
        let event = Event::new(Action::Reject, Outcome::Refused).on(Target::intent(id)).because(because);
        self.upstream.audit.record(&event).map_err(unavailable)?;
        let journal = &self.upstream.journal;
        let bulk = journal.remove(id).await.map_err(unavailable)?;
        // It may have been the last line that its file waited for.
        if let Some(bulk) = bulk
            && let Err(error) = self.upstream.end_bulk_if_due(bulk).await
        {
            tracing::error!(error = clauses(&error), "the outcome of a file of many can't be written yet");
            if let Some(last) = journal.lines(bulk).await.ok().and_then(|mut lines| lines.pop()) {
                return Ok((SettledAs::Discarded, Attended::GoesOn(last.slip.id, last.slip.lane)));
            }
        }
        Ok((SettledAs::Discarded, Attended::Settled(id)))
    }

    /// Answers everything but an order. `problems` are those of documents that wait.
    pub(super) async fn answer(&self, request: IngestRequest, problems: &HashMap<Uuid, Problem>) {
        match request {
            IngestRequest::List(answer) => {
                let _ = answer.send(self.shown(problems).await);
            }
            IngestRequest::Show(id, answer) => {
                let shown = self.shown(problems).await;
                let one = |all: Vec<Shown>| all.into_iter().find(|one| one.intent == id).ok_or(IngestRefusal::NotFound);
                let _ = answer.send(shown.and_then(one));
            }
            IngestRequest::Open(name, answer) => {
                let attendant = self.clone();
                let opened = tokio::task::spawn_blocking(move || attendant.open(&name)).await;
                let gone = |_| Err(IngestRefusal::Unavailable("it could not be read".to_owned()));
                let _ = answer.send(opened.unwrap_or_else(gone));
            }
            IngestRequest::Plan(document, answer) => {
                let _ = answer.send(self.preview(&document).await);
            }
            IngestRequest::Settle(_, _, answer) => {
                let _ = answer.send(Err(IngestRefusal::NotFound));
            }
        }
    }

    async fn preview(&self, document: &SecretBytes) -> Result<Preview, IngestRefusal> {
        let unsealed = contents::unseal(document, &self.upstream.outcomes.keyring, OPENED_AT_MOST);
        match unsealed.map_err(unavailable)? {
            Ok(None) => self.upstream.planner.preview(document).await,
            Ok(Some(opened)) => self.upstream.planner.preview(&opened).await,
            Err(_) => Err(IngestRefusal::Bad("it is not sealed to this vault, or damaged")),
        }
    }

    async fn shown(&self, problems: &HashMap<Uuid, Problem>) -> Result<Vec<Shown>, IngestRefusal> {
        let Contents { unfinished, damaged } = self.upstream.journal.contents().await.map_err(unavailable)?;
        let mut all: Vec<_> = unfinished.iter().map(|one| shown(one, problems.get(&one.slip().id))).collect();
        all.extend(damaged.into_iter().map(|intent| Shown {
            intent,
            file: String::new(),
            line: None,
            action: "unknown".to_owned(),
            state: IntentState::Damaged,
            received_at: None,
            sent_at: None,
            attempts: 0,
            owner: None,
            authentication_id: None,
            candidates: Vec::new(),
            problem: None,
        }));
        Ok(all)
    }

    /// A rejected document in the clear.
    fn open(&self, name: &str) -> Result<SecretBytes, IngestRefusal> {
        let path = self.upstream.outcomes.layout.rejected();
        let directory = Layout::open(&path).map_err(unavailable)?;
        let permitted = Permitted { owners: Vec::new(), max_size: OPENED_AT_MOST };
        let bytes =
            permitted.open(&directory, Path::new(name)).and_then(Opened::read).map_err(|unread| match unread {
                Unread::Gone => IngestRefusal::NotFound,
                Unread::Refused(_) => {
                    IngestRefusal::Conflict("it was never read, and is not read now: its reason says why")
                }
                Unread::Growing => IngestRefusal::Conflict("somebody has it open for writing"),
                Unread::Failed(error) => IngestRefusal::Unavailable(error.to_string()),
            })?;
        let unsealed = contents::unseal(&bytes, &self.upstream.outcomes.keyring, OPENED_AT_MOST);
        match unsealed.map_err(unavailable)? {
            Ok(None) => Ok(bytes),
            Ok(Some(opened)) => Ok(opened),
            Err(_) => Err(IngestRefusal::Conflict("it is not sealed to this vault, or damaged")),
        }
    }
}

fn goes_on(slip: &Slip) -> (SettledAs, Attended) {
    (SettledAs::Queued, Attended::GoesOn(slip.id, slip.lane.clone()))
}

fn shown(unfinished: &Unfinished, problem: Option<&Problem>) -> Shown {
    let slip = unfinished.slip();
    let (state, sent, candidates) = match unfinished {
        Unfinished::Journaled(_) => (IntentState::Journaled, None, &[][..]),
        Unfinished::Sent(intent) => (IntentState::Sent, Some(&intent.state), &[][..]),
        Unfinished::Held(intent) => (IntentState::Held, Some(&intent.state.sent), &intent.state.candidates[..]),
        Unfinished::Acked(intent) => (IntentState::Acked, Some(&intent.state.sent), &[][..]),
        Unfinished::Rejected(_) => (IntentState::Rejected, None, &[][..]),
        Unfinished::Duplicate(_) | Unfinished::Ended(_) => (IntentState::Ended, None, &[][..]),
    };
    Shown {
        intent: slip.id,
        file: slip.file.clone(),
        line: slip.line.map(|line| line.number),
        action: slip.action.map_or_else(|| "unknown".to_owned(), |action| action.to_string()),
        state,
        received_at: Some(slip.received_at),
        sent_at: sent.map(|sent| sent.sent_at),
        attempts: sent.map_or(0, |sent| sent.attempt),
        owner: sent.and_then(|sent| sent.owner.external_user_id().map(str::to_owned)),
        authentication_id: sent.and_then(|sent| sent.operation.authentication()),
        candidates: candidates.to_vec(),
        problem: problem.cloned(),
    }
}

fn unavailable(error: impl std::error::Error) -> IngestRefusal {
    IngestRefusal::Unavailable(clauses(&error))
}
