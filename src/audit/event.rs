//! Typed events. No field can hold a credential: ids, rule names from the configuration, and words of this program.

use serde::Serialize;
use uuid::Uuid;

use crate::authentication::{AuthenticationId, Owner};

/// What was done, or was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Action {
    /// The daemon started, with its vault unlocked.
    #[serde(rename = "daemon.start")]
    Start,
    /// The daemon drained.
    #[serde(rename = "daemon.stop")]
    Stop,
    /// The configuration was read again.
    #[serde(rename = "daemon.reload")]
    Reload,
    /// A torn last line, left by a crash, was cut off.
    #[serde(rename = "audit.repair")]
    Repair,
    /// The vault was made.
    #[serde(rename = "vault.create")]
    CreateVault,
    /// A key was tried on the vault.
    #[serde(rename = "vault.unlock")]
    Unlock,
    /// The vault was locked: its keys and the tokens were wiped.
    #[serde(rename = "vault.lock")]
    Lock,
    /// A database from before what the log knows of was accepted.
    #[serde(rename = "vault.accept_rollback")]
    AcceptRollback,
    /// A backup is written.
    #[serde(rename = "vault.backup")]
    Backup,
    /// A backup was put in the place of a vault that is lost.
    #[serde(rename = "vault.restore")]
    Restore,
    /// A key slot was added.
    #[serde(rename = "key.add")]
    AddSlot,
    /// A key slot was removed.
    #[serde(rename = "key.remove")]
    RemoveSlot,
    /// A new epoch began.
    #[serde(rename = "key.rotate")]
    Rotate,
    /// The earlier epochs ended: their keys can't be derived any more.
    #[serde(rename = "key.retire")]
    Retire,
    /// The cache was damaged or not there, and is built anew.
    #[serde(rename = "cache.rebuild")]
    Rebuild,
    /// What the cache holds is on stable storage, in the generation that the entry carries.
    #[serde(rename = "cache.settle")]
    SettleCache,
    /// Tray was asked for a user token.
    #[serde(rename = "token.mint")]
    MintToken,
    /// An end user is created in Tray.
    #[serde(rename = "user.create")]
    CreateUser,
    /// Tray was asked which workspace the API user's token belongs to.
    #[serde(rename = "workspace.verify")]
    VerifyWorkspace,
    /// An authentication was read in full from Tray.
    #[serde(rename = "authentication.pull")]
    Pull,
    /// Tray refuses a principal: what it has is not answered any more.
    #[serde(rename = "principal.refuse")]
    RefusePrincipal,
    /// A held secret was destroyed.
    #[serde(rename = "authentication.destroy")]
    Destroy,
    /// A local caller asked how the daemon stands. Only refusals are recorded.
    #[serde(rename = "status.read")]
    Status,
    /// A local caller asked for metadata.
    #[serde(rename = "authentication.list")]
    List,
    /// A local caller had decisions explained.
    #[serde(rename = "access.explain")]
    Explain,
    /// A local caller asked for a secret.
    #[serde(rename = "authentication.read")]
    Read,
    /// systemd asked for a unit's credential.
    #[serde(rename = "credential.load")]
    LoadCredential,
    /// A local caller asked for a pull, or reported that a credential was rejected.
    #[serde(rename = "authentication.refresh")]
    Refresh,
    /// A local caller asked for a synchronisation.
    #[serde(rename = "sync.request")]
    RequestSync,
    /// A local caller confirmed that a synchronisation may remove more than its share.
    #[serde(rename = "sync.confirm_removals")]
    ConfirmRemovals,
    /// A local caller listens to events.
    #[serde(rename = "events.subscribe")]
    Subscribe,
    /// A local caller asked who was refused lately.
    #[serde(rename = "refusals.list")]
    ListRefusals,
    /// A dropped file was claimed and read.
    #[serde(rename = "ingest.claim")]
    Claim,
    /// A dropped document was journaled, sealed.
    #[serde(rename = "ingest.journal")]
    Journal,
    /// A dropped document was rejected.
    #[serde(rename = "ingest.reject")]
    Reject,
    /// An authentication is about to be created in Tray.
    #[serde(rename = "ingest.create")]
    Create,
    /// An authentication is about to be replaced in Tray.
    #[serde(rename = "ingest.update")]
    Update,
    /// An authentication is about to be deleted in Tray.
    #[serde(rename = "ingest.delete")]
    Delete,
    /// What became of a document that was sent.
    #[serde(rename = "ingest.settle")]
    Settle,
    /// A local caller asked for documents that are not finished.
    #[serde(rename = "ingest.list")]
    ListDocuments,
    /// A local caller asked what a document would do.
    #[serde(rename = "ingest.plan")]
    PlanDocument,
    /// A local caller asked for a rejected document in the clear.
    #[serde(rename = "ingest.open")]
    OpenRejected,
    /// A local caller has a document sent again.
    #[serde(rename = "ingest.retry")]
    RetryDocument,
    /// A local caller says which authentication a document became.
    #[serde(rename = "ingest.adopt")]
    AdoptDocument,
    /// A local caller has a document rejected.
    #[serde(rename = "ingest.discard")]
    DiscardDocument,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is about to be done; a later entry says how it ended.
    Begun,
    /// It was done.
    Done,
    /// Policy refused it.
    Refused,
    /// It was tried and failed.
    Failed,
}

/// A local caller, as the kernel names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Actor {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// The systemd unit, where the kernel could tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// What it was done to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The authentication.
    pub authentication: Option<AuthenticationId>,
    /// Its owner; the log keeps a keyed fingerprint of it.
    pub owner: Option<Owner>,
    /// The intent of a dropped document.
    pub intent: Option<Uuid>,
}

impl Target {
    /// An authentication of a known owner.
    pub fn authentication(id: AuthenticationId, owner: &Owner) -> Self {
        Self { authentication: Some(id), owner: Some(owner.clone()), intent: None }
    }

    /// A principal as a whole.
    pub fn owner(owner: &Owner) -> Self {
        Self { owner: Some(owner.clone()), ..Self::default() }
    }

    /// A dropped document.
    pub fn intent(intent: Uuid) -> Self {
        Self { intent: Some(intent), ..Self::default() }
    }
}

/// One thing to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub(super) action: Action,
    pub(super) outcome: Outcome,
    pub(super) target: Target,
    pub(super) actor: Option<Actor>,
    pub(super) reason: Option<&'static str>,
    pub(super) rule: Option<String>,
    pub(super) request: Option<Uuid>,
    pub(super) count: Option<u64>,
    pub(super) slot: Option<Uuid>,
    pub(super) epoch: Option<u32>,
}

impl Event {
    /// An event without a target.
    pub fn new(action: Action, outcome: Outcome) -> Self {
        Self {
            action,
            outcome,
            target: Target::default(),
            actor: None,
            reason: None,
            rule: None,
            request: None,
            count: None,
            slot: None,
            epoch: None,
        }
    }

    /// What it was done to.
    #[must_use]
    pub fn on(mut self, target: Target) -> Self {
        self.target = target;
        self
    }

    /// The same with another outcome.
    #[must_use]
    pub fn ended(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }

    /// Who asked for it.
    #[must_use]
    pub fn by(mut self, actor: Actor) -> Self {
        self.actor = Some(actor);
        self
    }

    /// Why it ended so: a clause of this program's, never text that came from outside.
    #[must_use]
    pub fn because(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }

    /// The rule of the configuration that decided it.
    #[must_use]
    pub fn under(mut self, rule: Option<&str>) -> Self {
        self.rule = rule.map(str::to_owned);
        self
    }

    /// The request's id, as its answer carries it.
    #[must_use]
    pub fn request(mut self, id: Uuid) -> Self {
        self.request = Some(id);
        self
    }

    /// How often it happened.
    #[must_use]
    pub fn count(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }

    /// The key slot.
    #[must_use]
    pub fn slot(mut self, id: Uuid) -> Self {
        self.slot = Some(id);
        self
    }

    /// The epoch.
    #[must_use]
    pub fn epoch(mut self, number: u32) -> Self {
        self.epoch = Some(number);
        self
    }
}
