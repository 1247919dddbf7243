//! One pull: decided by policy, permitted by Tray, recorded, sealed.

use jiff::Timestamp;

use super::{
    error::{SyncError, not_enabled},
    expiry::{Pointers, expires_at},
    flights::Want,
    full_reads::Gate,
    worker::Worker,
};
use crate::{
    audit::{self, Event, Outcome, Target},
    authentication::{AuthenticationId, Metadata},
    feed::Happening,
    policy::PullDecision,
    principals::Session,
    requests::Trouble,
    status::{Problem, Pulls},
    tray::{Class, FullAuthentication, Priority, Refresh},
    vault::{GoneReason, Record, Secret, State, Write},
};

/// How far this host's clock may be from Tray's before no credentials count as expired by it.
const CLOCK_TOLERANCE_SECONDS: u64 = 300;

/// Whether a clock that is so far from Tray's, in seconds, is good enough to tell what has expired.
pub(super) fn agrees(skew: i64) -> bool {
    skew.unsigned_abs() <= CLOCK_TOLERANCE_SECONDS
}

/// Whether what is held was fetched within this second: a caller who asks again and again takes no more of the budget.
fn is_of_now(record: &Record) -> bool {
    let age = |at| Timestamp::now().duration_since(at);
    record.state == State::Full && record.fetched_at.is_some_and(|at| !age(at).is_negative() && age(at).as_secs() < 1)
}

/// What became of a pull.
#[derive(Clone, Debug)]
pub(super) enum Pulled {
    /// It is sealed.
    Sealed,
    /// It was read, and something has changed meanwhile: what was read may be out of date, and is dropped.
    Overtaken,
    /// What is held is newer than what was to be replaced, or Tray refreshed it a moment ago.
    Current,
    /// No rule permits it.
    Withheld,
    /// Tray has it no more.
    Gone,
    /// Tray refuses it, or its principal.
    Refused(Problem),
    /// Tray has not enabled full reads for its principal.
    NotEnabled(Problem),
    /// It was not answered, or could not be sealed.
    Failed(Problem, Trouble),
}

impl Pulled {
    /// The task that pulled died.
    pub(super) fn died() -> Self {
        Self::Failed(Problem { what: "the pull died".to_owned(), hint: None }, Trouble::Unavailable)
    }

    fn count(&self, pulls: &mut Pulls) {
        *match self {
            Self::Sealed => &mut pulls.sealed,
            Self::Overtaken => &mut pulls.overtaken,
            Self::Current => &mut pulls.current,
            Self::Withheld => &mut pulls.not_permitted,
            Self::Gone => &mut pulls.gone,
            Self::Refused(_) => &mut pulls.refused,
            Self::NotEnabled(_) => &mut pulls.not_enabled,
            Self::Failed(..) => &mut pulls.failed,
        } += 1;
    }
}

/// How Tray is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    /// For what it has.
    AsItIs,
    /// The same, where full reads were not enabled when they were asked for last.
    Probe,
    /// To refresh the credentials with their service first.
    Force,
}

impl Worker {
    /// Pulls, whatever is in flight.
    pub(super) async fn pull_now(&self, id: AuthenticationId, want: Want, priority: Priority) -> Pulled {
        let pulled = match self.try_pull(id, want, priority).await {
            Ok(pulled) => pulled,
            Err(error) => {
                tracing::warn!(authentication = %id, %error, "an authentication could not be pulled");
                let problem = error.problem();
                match error.class() {
                    Some(Class::NotEnabled) => Pulled::NotEnabled(problem),
                    Some(Class::NotPermitted) => Pulled::Refused(problem),
                    _ if error.refuses_principal() => Pulled::Refused(problem),
                    _ => Pulled::Failed(problem, error.trouble()),
                }
            }
        };
        self.dependencies.board.post(|posted| pulled.count(&mut posted.sync.pulls));
        pulled
    }

    async fn try_pull(&self, id: AuthenticationId, want: Want, priority: Priority) -> Result<Pulled, SyncError> {
        let Some(record) = self.dependencies.cache.record(id)?.filter(|record| record.state != State::Gone) else {
            return Ok(Pulled::Gone);
        };
        if let Want::OtherThan(rejected) = want
            && record.fetched_at.is_some()
            && (record.revision != rejected || self.forced.has(&id))
        {
            return Ok(Pulled::Current);
        }
        if want == Want::AsItIs && priority == Priority::Refresh && is_of_now(&record) {
            return Ok(Pulled::Current);
        }
        let owner = &record.metadata.owner;
        if priority != Priority::Refresh && self.rejected.has(owner) {
            return Ok(Pulled::Refused(Problem {
                what: "Tray does not accept the principal's token".to_owned(),
                hint: None,
            }));
        }
        let pulled = async {
            let session = self.dependencies.principals.at(priority).session(owner).await?;
            let pulled = self.pull_as(&session, &record, want, priority).await;
            let refused = pulled.as_ref().err().and_then(SyncError::class);
            match self.renewed(refused, owner, &session, priority).await? {
                Some(session) => self.pull_as(&session, &record, want, priority).await,
                None => pulled,
            }
        };
        let pulled = pulled.await;
        match &pulled {
            Err(error) if error.refuses_principal() => {
                self.rejected.note(owner.clone());
                self.refuse_principal(owner).await?;
            }
            Ok(Pulled::Sealed) => self.rejected.forget(owner),
            _ => {}
        }
        pulled
    }

    /// Reads in full as soon as it is known that full reads are enabled, or that this one finds out.
    async fn pull_as(
        &self,
        session: &Session,
        record: &Record,
        want: Want,
        priority: Priority,
    ) -> Result<Pulled, SyncError> {
        let metadata = self.with_scopes(record.metadata.clone(), &self.policy(), session, priority).await?;
        let id = metadata.id;
        let gate = self.full_reads.gate(&metadata.owner).await;
        let as_it_is = match gate {
            Gate::FindOut { was_not_enabled, .. } if was_not_enabled || record.state == State::NotEnabled => {
                Read::Probe
            }
            Gate::Open | Gate::FindOut { .. } => Read::AsItIs,
            Gate::Closed => {
                self.dependencies.cache.write(vec![Write::Mark { id, state: State::NotEnabled }]).await?;
                return Err(not_enabled());
            }
        };
        let rejected = matches!(want, Want::OtherThan(_));
        if rejected && as_it_is == Read::AsItIs {
            return self.seal(session, &metadata, Read::Force, priority).await;
        }
        let pulled = self.seal(session, &metadata, as_it_is, priority).await?;
        let is_worn_out = rejected || (self.has_expired(id)? && !self.forced.has(&id));
        if !matches!(pulled, Pulled::Sealed) || !is_worn_out {
            return Ok(pulled);
        }
        let forced = self.seal(session, &metadata, Read::Force, priority).await;
        if matches!(&forced, Err(error) if error.class() == Some(Class::RetryLater)) {
            // It stays due.
            self.dependencies.cache.write(vec![Write::Mark { id, state: State::Pending }]).await?;
        }
        forced
    }

    /// Whether what is held has expired, by a clock that agrees with Tray's.
    fn has_expired(&self, id: AuthenticationId) -> Result<bool, SyncError> {
        let expires_at = self.dependencies.cache.record(id)?.and_then(|record| record.expires_at);
        let is_trusted = self.dependencies.tray.clock_skew().is_none_or(agrees);
        Ok(is_trusted && expires_at.is_some_and(|at| at <= Timestamp::now()))
    }

    /// The rule that permits to read it in full, now; without one, what is held is destroyed.
    async fn permitted(&self, metadata: &Metadata) -> Result<Option<String>, SyncError> {
        match self.policy().pull(metadata) {
            PullDecision::Permitted { rule } => Ok(Some(rule)),
            refused @ PullDecision::Refused { .. } => {
                self.withhold(metadata, refused).await?;
                Ok(None)
            }
        }
    }

    async fn seal(
        &self,
        session: &Session,
        metadata: &Metadata,
        read: Read,
        priority: Priority,
    ) -> Result<Pulled, SyncError> {
        let (cache, id) = (&self.dependencies.cache, metadata.id);
        let Some(rule) = self.permitted(metadata).await? else { return Ok(Pulled::Withheld) };
        let event =
            |outcome| Event::new(audit::Action::Pull, outcome).on(Target::of(metadata)).under(Some(rule.as_str()));
        if read == Read::Force {
            // It changes the credentials in Tray.
            let begun = event(Outcome::Begun).because("they have expired or were rejected: Tray is to refresh them");
            self.dependencies.audit.record_synced(&begun)?;
        }
        let asked_in = cache.generation()?;
        let (tray, permit) = (self.dependencies.tray.at(priority), session.acting().permit());
        let full = match read {
            Read::Probe => tray.probe_full(permit, id).await,
            Read::AsItIs => tray.full(permit, id, Refresh::AsItIs).await,
            Read::Force => tray.full(permit, id, Refresh::Force).await,
        };
        let full = match full {
            Ok(full) => full,
            Err(error) => {
                self.dependencies.audit.record(&event(Outcome::Failed).because(error.reason))?;
                return self.refused(metadata, error.into()).await;
            }
        };
        self.dependencies.audit.record(&event(Outcome::Done))?;
        self.full_reads.enabled(&metadata.owner);
        self.removals.release(id);
        if read == Read::Force {
            self.forced.note(id);
        }
        // The rules may have changed meanwhile, and what they hang on: Tray's answer has the scopes.
        let metadata = self.with_shown_scopes(metadata, &full).await?;
        if self.permitted(&metadata).await?.is_none() {
            return Ok(Pulled::Withheld);
        }
        let held = cache.secret(id).ok().flatten();
        let (write, is_new) = self.pulled(id, asked_in, full, held.as_ref());
        cache.write(vec![write]).await?;
        match cache.record(id)?.filter(|record| record.state == State::Full) {
            Some(record) => self.tell(&record, held.is_some(), is_new),
            None => return Ok(Pulled::Overtaken),
        }
        Ok(Pulled::Sealed)
    }

    /// The metadata with the scopes that a full answer shows, where rules hang on them.
    async fn with_shown_scopes(&self, metadata: &Metadata, full: &FullAuthentication) -> Result<Metadata, SyncError> {
        if !self.policy().needs_scopes(&Metadata { scopes: None, ..metadata.clone() }) {
            return Ok(metadata.clone());
        }
        let shown = full.view()?.scopes.unwrap_or_default();
        let metadata = Metadata { scopes: Some(shown), ..metadata.clone() };
        self.dependencies.cache.write(vec![Write::Scoped { metadata: metadata.clone(), at: Timestamp::now() }]).await?;
        Ok(metadata)
    }

    /// What to seal, and whether it is other than what is held. What can't be opened is replaced like what was never held.
    fn pulled(
        &self,
        id: AuthenticationId,
        asked_in: u64,
        full: FullAuthentication,
        held: Option<&Secret>,
    ) -> (Write, bool) {
        let fetched_at = Timestamp::now();
        let config = self.dependencies.config.borrow();
        let pointers = Pointers { at: &config.expires_at, within: &config.expires_in };
        let body = full.into_body();
        let is_new = held.is_none_or(|held| held.body.expose_secret() != body.expose_secret());
        let held = held.map(|held| (held.body.expose_secret(), held.expires_at));
        let expires_at = expires_at(body.expose_secret(), fetched_at, held, pointers);
        (Write::Pulled { id, asked_in, body, fetched_at, expires_at }, is_new)
    }

    fn tell(&self, record: &Record, was_held: bool, is_new: bool) {
        let revision = record.revision;
        let happened = match (was_held, is_new) {
            (false, _) => Happening::Pulled { revision },
            (true, true) => Happening::Changed { revision: Some(revision) },
            (true, false) => Happening::Refreshed { revision },
        };
        self.dependencies.feed.tell(Some(&record.metadata), happened);
    }

    /// What a pull that Tray refused means for what is held. Where the vault was locked meanwhile, it is remembered.
    async fn refused(&self, metadata: &Metadata, error: SyncError) -> Result<Pulled, SyncError> {
        let recorded = match error.class() {
            Some(Class::Gone) => self.hold(metadata, GoneReason::DeletedUpstream).await,
            Some(Class::NotPermitted) => self.hold(metadata, GoneReason::PermissionLost).await,
            Some(Class::NotEnabled) => {
                self.full_reads.not_enabled(&metadata.owner);
                let mark = Write::Mark { id: metadata.id, state: State::NotEnabled };
                self.dependencies.cache.write(vec![mark]).await.map(drop).map_err(SyncError::from)
            }
            _ => return Err(error),
        };
        if recorded.as_ref().is_err_and(SyncError::is_locked) {
            self.unrecorded().insert(metadata.id);
        }
        recorded?;
        if error.class() == Some(Class::Gone) { Ok(Pulled::Gone) } else { Err(error) }
    }

    /// Keeps the metadata only, and destroys what is held.
    pub(super) async fn withhold(&self, metadata: &Metadata, decision: PullDecision) -> Result<(), SyncError> {
        let Metadata { id, owner, .. } = metadata;
        if let PullDecision::Refused { rule } = decision {
            let event = Event::new(audit::Action::Pull, Outcome::Refused).on(Target::authentication(*id, owner));
            self.dependencies.audit.record(&event.because("no rule permits to pull it").under(rule.as_deref()))?;
        }
        let was_held = self.dependencies.cache.record(*id)?.is_some_and(|record| record.fetched_at.is_some());
        self.destroying(*id, Some(owner), "no rule permits to pull it any more")?;
        self.dependencies.cache.write(vec![Write::Mark { id: *id, state: State::NotPermitted }]).await?;
        if was_held {
            self.dependencies.feed.tell(Some(metadata), Happening::Removed { reason: None });
        }
        Ok(())
    }
}
