//! What all parts of synchronisation work with, and what they remember.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{
    Config, error::SyncError, flights::Flights, full_reads::FullReadMemory, plan::REFUSAL_PAUSE, removals::Removals,
};
use crate::{
    audit::AuditLog,
    authentication::{AuthenticationId, Metadata, Owner},
    feed::Feed,
    lately::Lately,
    policy::Policy,
    principals::{Principals, Renewal, Session},
    status::Board,
    tray::{Circuit, Class, Priority, Tray},
    vault::Cache,
};

/// How long after Tray refreshed credentials by force it is not asked to again.
const FORCE_PAUSE: Duration = Duration::from_secs(60);

/// What synchronisation works with.
pub struct Dependencies {
    /// The client.
    pub tray: Tray,
    /// Whom to act as.
    pub principals: Principals,
    /// Where to seal.
    pub cache: Cache,
    /// Where every pull is recorded.
    pub audit: AuditLog,
    /// Which authentications may be pulled.
    pub policy: watch::Receiver<Arc<Policy>>,
    /// When and how.
    pub config: watch::Receiver<Config>,
    /// Where progress is posted.
    pub board: Board,
    /// Where what happened is told.
    pub feed: Feed,
}

/// Works on principals and authentications.
pub(super) struct Worker {
    pub(super) dependencies: Dependencies,
    pub(super) flights: Flights,
    pub(super) full_reads: FullReadMemory,
    pub(super) removals: Removals,
    /// What Tray was asked to refresh by force.
    pub(super) forced: Lately<AuthenticationId>,
}

impl Worker {
    pub(super) fn new(dependencies: Dependencies) -> Self {
        Self {
            dependencies,
            flights: Flights::default(),
            full_reads: FullReadMemory::default(),
            removals: Removals::new(REFUSAL_PAUSE),
            forced: Lately::within(FORCE_PAUSE),
        }
    }

    pub(super) fn config(&self) -> Config {
        self.dependencies.config.borrow().clone()
    }

    pub(super) fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.dependencies.policy.borrow())
    }

    /// Whether Tray is asked, and no host of it is known not to answer.
    pub(super) fn is_answered(&self) -> bool {
        let standing = self.dependencies.tray.standing();
        !standing.offline && standing.hosts.iter().all(|host| host.circuit != Circuit::Open)
    }

    /// A session to do something once more with that Tray refused, if that was for its token and the token could be
    /// renewed.
    pub(super) async fn renewed(
        &self,
        refused: Option<Class>,
        owner: &Owner,
        session: &Session,
        priority: Priority,
    ) -> Result<Option<Session>, SyncError> {
        if refused != Some(Class::TokenRejected) {
            return Ok(None);
        }
        let principals = self.dependencies.principals.at(priority);
        match principals.token_rejected(owner, Some(session)).await? {
            Renewal::Renewed => Ok(Some(principals.session(owner).await?)),
            Renewal::Refused => Ok(None),
        }
    }

    /// The metadata with the scopes, where the decision on a pull hangs on them. They are asked for with one request.
    pub(super) async fn with_scopes(
        &self,
        metadata: Metadata,
        policy: &Policy,
        session: &Session,
        priority: Priority,
    ) -> Result<Metadata, SyncError> {
        if !policy.needs_scopes(&metadata) {
            return Ok(metadata);
        }
        let asked = self.dependencies.tray.at(priority).authentication(session.acting(), metadata.id).await?;
        Ok(Metadata { scopes: Some(asked.scopes.unwrap_or_default()), ..metadata })
    }
}
