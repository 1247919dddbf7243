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
    policy::{Policy, PullDecision},
    principals::Session,
    status::Problem,
    tray::{Class, FullAuthentication, Priority, Refresh},
    vault::{GoneReason, Record, Secret, State, Write},
};

/// How far this host's clock may be from Tray's before no credentials count as expired by it.
const CLOCK_TOLERANCE_SECONDS: u64 = 300;

/// Whether a clock that is so far from Tray's, in seconds, is good enough to tell what has expired.
pub(super) fn agrees(skew: i64) -> bool {
    skew.unsigned_abs() <= CLOCK_TOLERANCE_SECONDS
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
    Failed(Problem),
}

impl Pulled {
    /// The task that pulled died.
    pub(super) fn died() -> Self {
        Self::Failed(Problem { what: "the pull died".to_owned(), hint: None })
    }
}

/// A pull as far as policy has decided it.
struct Permitted<'a> {
    metadata: Metadata,
    rule: String,
    policy: &'a Policy,
    priority: Priority,
}

impl Permitted<'_> {
    /// The scopes that a full answer shows, where policy hangs on them and they are not those that are known.
    fn news_of_scopes(&self, full: &FullAuthentication) -> Option<Vec<String>> {
        if !self.policy.needs_scopes(&Metadata { scopes: None, ..self.metadata.clone() }) {
            return None;
        }
        let shown = full.view().ok()?.scopes.unwrap_or_default();
        (self.metadata.scopes.as_ref() != Some(&shown)).then_some(shown)
    }
}

impl Worker {
    /// Pulls, whatever is in flight.
    pub(super) async fn pull_now(&self, id: AuthenticationId, want: Want, priority: Priority) -> Pulled {
        match self.try_pull(id, want, priority).await {
            Ok(pulled) => pulled,
            Err(error) => {
                tracing::warn!(authentication = %id, %error, "an authentication could not be pulled");
                let problem = error.problem();
                match error.class() {
                    Some(Class::NotEnabled) => Pulled::NotEnabled(problem),
                    Some(Class::NotPermitted) => Pulled::Refused(problem),
                    _ if error.refuses_principal() => Pulled::Refused(problem),
                    _ => Pulled::Failed(problem),
                }
            }
        }
    }

    async fn try_pull(&self, id: AuthenticationId, want: Want, priority: Priority) -> Result<Pulled, SyncError> {
        let cache = &self.dependencies.cache;
        let Some(record) = cache.record(id)?.filter(|record| record.state != State::Gone) else {
            return Ok(Pulled::Gone);
        };
        if let Want::OtherThan(rejected) = want
            && (record.revision > rejected || self.forced.has(&id))
        {
            return Ok(Pulled::Current);
        }
        let (owner, policy) = (&record.metadata.owner, self.policy());
        let pulled = async {
            let session = self.dependencies.principals.at(priority).session(owner).await?;
            let pulled = self.pull_as(&session, &record, &policy, want, priority).await;
            let refused = pulled.as_ref().err().and_then(SyncError::class);
            match self.renewed(refused, owner, &session, priority).await? {
                Some(session) => self.pull_as(&session, &record, &policy, want, priority).await,
                None => pulled,
            }
        };
        let pulled = pulled.await;
        if pulled.as_ref().is_err_and(SyncError::refuses_principal) {
            self.refuse_principal(owner).await?;
        }
        pulled
    }

    async fn pull_as(
        &self,
        session: &Session,
        record: &Record,
        policy: &Policy,
        want: Want,
        priority: Priority,
    ) -> Result<Pulled, SyncError> {
        let metadata = self.with_scopes(record.metadata.clone(), policy, session, priority).await?;
        match policy.pull(&metadata) {
            PullDecision::Permitted { rule } => {
                let permitted = Permitted { metadata, rule, policy, priority };
                self.read_and_seal(session, &permitted, want, record.state).await
            }
            refused @ PullDecision::Refused { .. } => {
                self.withhold(&metadata, refused).await?;
                Ok(Pulled::Withheld)
            }
        }
    }

    /// Reads in full as soon as it is known that full reads are enabled, or that this one finds out.
    async fn read_and_seal(
        &self,
        session: &Session,
        permitted: &Permitted<'_>,
        want: Want,
        state: State,
    ) -> Result<Pulled, SyncError> {
        let Metadata { id, owner, .. } = &permitted.metadata;
        let gate = self.full_reads.gate(owner).await;
        let probe = match gate {
            Gate::Open => false,
            Gate::FindOut { was_not_enabled, .. } => was_not_enabled || state == State::NotEnabled,
            Gate::Closed => {
                self.dependencies.cache.write(vec![Write::Mark { id: *id, state: State::NotEnabled }]).await?;
                return Err(not_enabled());
            }
        };
        match want {
            Want::OtherThan(_) => self.seal(session, permitted, Refresh::Force, probe).await,
            Want::AsItIs => {
                let pulled = self.seal(session, permitted, Refresh::AsItIs, probe).await?;
                if matches!(pulled, Pulled::Sealed) && self.has_expired(*id)? && !self.forced.has(id) {
                    return self.force_expired(session, permitted).await;
                }
                Ok(pulled)
            }
        }
    }

    /// Tray's own copy has expired: it is refreshed with its service. Where that can't be done now, it stays due.
    async fn force_expired(&self, session: &Session, permitted: &Permitted<'_>) -> Result<Pulled, SyncError> {
        let forced = self.seal(session, permitted, Refresh::Force, false).await;
        if matches!(&forced, Err(error) if error.class() == Some(Class::RetryLater)) {
            let pending = Write::Mark { id: permitted.metadata.id, state: State::Pending };
            self.dependencies.cache.write(vec![pending]).await?;
        }
        forced
    }

    /// Whether what is held has expired, by a clock that agrees with Tray's.
    fn has_expired(&self, id: AuthenticationId) -> Result<bool, SyncError> {
        let expires_at = self.dependencies.cache.record(id)?.and_then(|record| record.expires_at);
        let is_trusted = self.dependencies.tray.clock_skew().is_none_or(agrees);
        Ok(is_trusted && expires_at.is_some_and(|at| at <= Timestamp::now()))
    }

    async fn seal(
        &self,
        session: &Session,
        permitted: &Permitted<'_>,
        refresh: Refresh,
        probe: bool,
    ) -> Result<Pulled, SyncError> {
        let Permitted { metadata, rule, policy, priority } = permitted;
        let (cache, id) = (&self.dependencies.cache, metadata.id);
        let event = |outcome| {
            Event::new(audit::Action::Pull, outcome).on(Target::authentication(id, &metadata.owner)).under(Some(rule))
        };
        if refresh == Refresh::Force {
            // It changes the credentials in Tray.
            let begun = event(Outcome::Begun).because("they have expired or were rejected: Tray is to refresh them");
            self.dependencies.audit.record_synced(&begun)?;
            self.forced.note(id);
        }
        let asked_in = cache.generation()?;
        let tray = self.dependencies.tray.at(*priority);
        let full = if probe {
            tray.probe_full(session.acting().permit(), id).await
        } else {
            tray.full(session.acting().permit(), id, refresh).await
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
        if let Some(scopes) = permitted.news_of_scopes(&full) {
            let metadata = Metadata { scopes: Some(scopes), ..metadata.clone() };
            let decision = policy.pull(&metadata);
            cache.write(vec![Write::Listed { metadata: metadata.clone(), at: Timestamp::now() }]).await?;
            if matches!(decision, PullDecision::Refused { .. }) {
                self.withhold(&metadata, decision).await?;
                return Ok(Pulled::Withheld);
            }
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

    /// What a pull that Tray refused means for what is held.
    async fn refused(&self, metadata: &Metadata, error: SyncError) -> Result<Pulled, SyncError> {
        match error.class() {
            Some(Class::Gone) => {
                self.remove_or_hold(metadata, GoneReason::DeletedUpstream).await?;
                Ok(Pulled::Gone)
            }
            Some(Class::NotPermitted) => {
                self.remove_or_hold(metadata, GoneReason::PermissionLost).await?;
                Err(error)
            }
            Some(Class::NotEnabled) => {
                self.full_reads.not_enabled(&metadata.owner);
                let mark = Write::Mark { id: metadata.id, state: State::NotEnabled };
                self.dependencies.cache.write(vec![mark]).await?;
                Err(error)
            }
            _ => Err(error),
        }
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
