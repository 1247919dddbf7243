//! One principal's list: read, compared with what is held, and recorded. What it says is gone or due is handed on.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::{
    Config,
    error::SyncError,
    plan::{Action, Asked, Due, FullReads, Remote, plan},
    worker::Worker,
};
use crate::{
    authentication::{AuthenticationId, Metadata, Owner},
    feed::Happening,
    policy::Policy,
    principals::Session,
    tray::{Class, Priority},
    vault::{Scheduled, State, Write},
};

/// What a list comes to.
#[derive(Default)]
pub(super) struct Found {
    pub(super) listed: usize,
    pub(super) not_permitted: usize,
    /// It would have something pulled, and full reads are not enabled for it.
    pub(super) not_enabled: bool,
    /// Not on the list any more.
    pub(super) missing: Vec<AuthenticationId>,
    /// To be pulled in full.
    pub(super) due: Vec<(AuthenticationId, Due)>,
}

/// A list, with what is known of what is on it.
struct Compared {
    remote: Vec<Remote>,
    local: Vec<Scheduled>,
    metadata: HashMap<AuthenticationId, Metadata>,
    /// Those whose scopes were asked for just now.
    scoped: Vec<AuthenticationId>,
}

impl Worker {
    /// Reads one principal's list and records what is new of it.
    pub(super) async fn list(
        &self,
        owner: &Owner,
        asked: Asked,
        priority: Priority,
        config: &Config,
    ) -> Result<Found, SyncError> {
        let policy = self.policy();
        let compared = match self.read(owner, &policy, priority, config).await {
            Ok(compared) => compared,
            Err(error) => {
                let refused = matches!(error, SyncError::Tray(_))
                    && matches!(error.class(), Some(Class::NotPermitted | Class::Gone));
                if refused || error.refuses_principal() {
                    self.refuse_principal(owner).await?;
                }
                return Err(error);
            }
        };
        let compared = match asked {
            Asked::ByTimer => self.without_lately_gone(compared),
            Asked::ByRequest => compared,
        };
        let full_reads = self.full_reads.planned(owner, asked);
        let actions = plan(&compared.remote, &compared.local, Timestamp::now(), asked, full_reads, config);
        self.record(&compared, &policy, &actions).await?;

        let mut found = Found {
            listed: compared.metadata.len(),
            not_permitted: compared.remote.iter().filter(|one| !one.permitted).count(),
            not_enabled: full_reads == FullReads::NotEnabled && compared.remote.iter().any(|one| one.permitted),
            ..Found::default()
        };
        for action in actions {
            match action {
                Action::Remove(id) => found.missing.push(id),
                Action::Pull(id, _) if asked == Asked::ByTimer && self.is_left_alone(id, owner) => {}
                Action::Pull(id, due) => found.due.push((id, due)),
                Action::Record(_) | Action::Await(_) | Action::Withhold(_) => {}
            }
        }
        Ok(found)
    }

    /// Whether Tray refused to read it in full a short while ago, though it lists it.
    fn is_left_alone(&self, id: AuthenticationId, owner: &Owner) -> bool {
        self.removals.was_refused_lately(id) || self.rejected.has(owner)
    }

    /// Reads it as the principal. With a token that Tray rejects, and that may be renewed, it is read once more.
    async fn read(
        &self,
        owner: &Owner,
        policy: &Policy,
        priority: Priority,
        config: &Config,
    ) -> Result<Compared, SyncError> {
        let session = self.dependencies.principals.at(priority).session(owner).await?;
        let compared = self.compare(owner, &session, policy, priority, config).await;
        let refused = compared.as_ref().err().and_then(SyncError::class);
        match self.renewed(refused, owner, &session, priority).await? {
            Some(session) => self.compare(owner, &session, policy, priority, config).await,
            None => compared,
        }
    }

    /// Without those that are listed though Tray had them no more when they were pulled a short while ago.
    fn without_lately_gone(&self, mut compared: Compared) -> Compared {
        let gone: HashMap<_, _> =
            compared.local.iter().filter(|one| one.state == State::Gone).map(|one| (one.id, one.metadata)).collect();
        compared
            .remote
            .retain(|one| gone.get(&one.id) != Some(&one.metadata) || !self.removals.was_refused_lately(one.id));
        compared
    }

    async fn compare(
        &self,
        owner: &Owner,
        session: &Session,
        policy: &Policy,
        priority: Priority,
        config: &Config,
    ) -> Result<Compared, SyncError> {
        let cache = &self.dependencies.cache;
        // Before the list: what ingest creates meanwhile is on neither, and so not taken to be gone.
        let local = cache.schedule(owner)?;
        let listed = self.dependencies.tray.at(priority).authentications(session.acting()).await?;
        let known: HashMap<_, _> = local.iter().map(|one| (one.id, one)).collect();
        let mut compared =
            Compared { remote: Vec::new(), local: Vec::new(), metadata: HashMap::new(), scoped: Vec::new() };
        for one in listed {
            let metadata = one.into_metadata(owner.clone());
            let fingerprint = cache.metadata_fingerprint(&metadata)?;
            let id = metadata.id;
            let held = known.get(&id).filter(|held| held.metadata == fingerprint).copied();
            let mut metadata = metadata;
            if policy.needs_scopes(&metadata) {
                metadata.scopes = self.known_scopes(held, config)?;
                if metadata.scopes.is_none() {
                    metadata = match self.with_scopes(metadata.clone(), policy, session, priority).await {
                        Ok(metadata) => metadata,
                        // It went between the list and this question.
                        Err(error) if error.class() == Some(Class::Gone) => continue,
                        // It says nothing of the others: this one stays without scopes.
                        Err(error) if error.class() == Some(Class::NotPermitted) => metadata,
                        Err(error) => return Err(error),
                    };
                    compared.scoped.extend(metadata.scopes.is_some().then_some(id));
                }
            }
            let permitted = policy.permits(&metadata);
            if compared.metadata.insert(id, metadata).is_none() {
                compared.remote.push(Remote { id, metadata: fingerprint, permitted });
            }
        }
        Ok(Compared { local, ..compared })
    }

    /// The scopes that are known of one that did not change: a pull keeps them up to date, else they are asked for again
    /// as often as it would be pulled.
    fn known_scopes(&self, held: Option<&Scheduled>, config: &Config) -> Result<Option<Vec<String>>, SyncError> {
        let Some(held) = held else { return Ok(None) };
        let Some(record) = self.dependencies.cache.record(held.id)? else { return Ok(None) };
        let age = Timestamp::now().duration_since(record.listed_at).unsigned_abs();
        let is_known = held.state == State::Full || age < config.refresh_after;
        Ok(record.metadata.scopes.filter(|_| is_known))
    }

    /// Everything that takes no further request: recorded in the audit log, then written in one batch.
    async fn record(&self, compared: &Compared, policy: &Policy, actions: &[Action]) -> Result<(), SyncError> {
        let at = Timestamp::now();
        let due: HashSet<_> = actions
            .iter()
            .filter_map(|action| if let Action::Pull(id, _) = action { Some(*id) } else { None })
            .collect();
        let known: HashSet<_> =
            compared.local.iter().filter(|one| one.state != State::Gone).map(|one| one.id).collect();
        let mut changes = Vec::new();
        let mut recorded = HashSet::new();
        for action in actions {
            match *action {
                Action::Record(id) => {
                    recorded.insert(id);
                    changes.push(Write::Listed { metadata: compared.metadata[&id].clone(), at });
                    if due.contains(&id) {
                        // A pull that fails stays due, though the next plan sees no change any more.
                        changes.push(Write::Mark { id, state: State::Pending });
                    }
                }
                Action::Await(id) => changes.push(Write::Mark { id, state: State::NotEnabled }),
                Action::Withhold(_) | Action::Remove(_) | Action::Pull(..) => {}
            }
        }
        for id in compared.scoped.iter().filter(|id| !recorded.contains(id)) {
            changes.push(Write::Scoped { metadata: compared.metadata[id].clone(), at });
        }
        if !changes.is_empty() {
            self.dependencies.cache.write(changes).await?;
        }
        for id in recorded.intersection(&known) {
            self.dependencies.feed.tell(Some(&compared.metadata[id]), Happening::Changed { revision: None });
        }
        for action in actions {
            if let Action::Withhold(id) = action {
                let metadata = &compared.metadata[id];
                self.withhold(metadata, policy.pull(metadata)).await?;
            }
        }
        Ok(())
    }
}
