//! Typed events. No field can hold a credential: ids, rule names from the configuration, and words of this program.

use std::sync::Arc;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::authentication::{AuthenticationId, Metadata, Owner};

/// What was done, or was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The daemon started, with its vault unlocked.
    Start,
    /// The daemon drained.
    Stop,
    /// The configuration was read again.
    Reload,
    /// A new segment of the log begins.
    BeginSegment,
    /// Segments of the log that are older than they are kept are removed.
    RemoveSegments,
    /// A torn last line, left by a crash, was cut off.
    Repair,
    /// The vault was made.
    CreateVault,
    /// A key was tried on the vault.
    Unlock,
    /// The vault was locked: its keys and the tokens were wiped.
    Lock,
    /// A database from before what the log knows of was accepted.
    AcceptRollback,
    /// A backup is written.
    Backup,
    /// A backup was put in the place of a vault that is lost.
    Restore,
    /// A key slot was added.
    AddSlot,
    /// A key slot was removed.
    RemoveSlot,
    /// A new epoch began.
    Rotate,
    /// The earlier epochs ended: their keys can't be derived any more.
    Retire,
    /// The cache was damaged or not there, and is built anew.
    Rebuild,
    /// What the cache holds is on stable storage, in the generation that the entry carries.
    SettleCache,
    /// Tray was asked for a user token.
    MintToken,
    /// An end user is created in Tray.
    CreateUser,
    /// Tray was asked which workspace the API user's token belongs to.
    VerifyWorkspace,
    /// An authentication was read in full from Tray.
    Pull,
    /// Tray refuses a principal: what it has is not answered any more.
    RefusePrincipal,
    /// A held secret was destroyed.
    Destroy,
    /// A local caller asked how the daemon stands. Only refusals are recorded.
    Status,
    /// A local caller asked for metadata.
    List,
    /// A local caller had decisions explained.
    Explain,
    /// A local caller asked for a secret.
    Read,
    /// systemd asked for a unit's credential.
    LoadCredential,
    /// A local caller asked for a pull, or reported that a credential was rejected.
    Refresh,
    /// A local caller asked for a synchronisation.
    RequestSync,
    /// A local caller confirmed that a synchronisation may remove more than its share.
    ConfirmRemovals,
    /// A local caller listens to events.
    Subscribe,
    /// A local caller asked who was refused lately.
    ListRefusals,
    /// A dropped file was claimed and read.
    Claim,
    /// A dropped document was journaled, sealed.
    Journal,
    /// A dropped document was rejected.
    Reject,
    /// An authentication is about to be created in Tray.
    Create,
    /// An authentication is about to be replaced in Tray.
    Update,
    /// An authentication is about to be deleted in Tray.
    Delete,
    /// What became of a document that was sent.
    Settle,
    /// A local caller asked for documents that are not finished.
    ListDocuments,
    /// A local caller asked what a document would do.
    PlanDocument,
    /// A local caller asked for a rejected document in the clear.
    OpenRejected,
    /// A local caller has a document sent again.
    RetryDocument,
    /// A local caller says which authentication a document became.
    AdoptDocument,
    /// A local caller has a document rejected.
    DiscardDocument,
}

impl Action {
    /// Its name in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "daemon.start",
            Self::Stop => "daemon.stop",
            Self::Reload => "daemon.reload",
            Self::BeginSegment => "audit.segment",
            Self::RemoveSegments => "audit.remove",
            Self::Repair => "audit.repair",
            Self::CreateVault => "vault.create",
            Self::Unlock => "vault.unlock",
            Self::Lock => "vault.lock",
            Self::AcceptRollback => "vault.accept_rollback",
            Self::Backup => "vault.backup",
            Self::Restore => "vault.restore",
            Self::AddSlot => "key.add",
            Self::RemoveSlot => "key.remove",
            Self::Rotate => "key.rotate",
            Self::Retire => "key.retire",
            Self::Rebuild => "cache.rebuild",
            Self::SettleCache => "cache.settle",
            Self::MintToken => "token.mint",
            Self::CreateUser => "user.create",
            Self::VerifyWorkspace => "workspace.verify",
            Self::Pull => "authentication.pull",
            Self::RefusePrincipal => "principal.refuse",
            Self::Destroy => "authentication.destroy",
            Self::Status => "status.read",
            Self::List => "authentication.list",
            Self::Explain => "access.explain",
            Self::Read => "authentication.read",
            Self::LoadCredential => "credential.load",
            Self::Refresh => "authentication.refresh",
            Self::RequestSync => "sync.request",
            Self::ConfirmRemovals => "sync.confirm_removals",
            Self::Subscribe => "events.subscribe",
            Self::ListRefusals => "refusals.list",
            Self::Claim => "ingest.claim",
            Self::Journal => "ingest.journal",
            Self::Reject => "ingest.reject",
            Self::Create => "ingest.create",
            Self::Update => "ingest.update",
            Self::Delete => "ingest.delete",
            Self::Settle => "ingest.settle",
            Self::ListDocuments => "ingest.list",
            Self::PlanDocument => "ingest.plan",
            Self::OpenRejected => "ingest.open",
            Self::RetryDocument => "ingest.retry",
            Self::AdoptDocument => "ingest.adopt",
            Self::DiscardDocument => "ingest.discard",
        }
    }
}

impl Serialize for Action {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_str().serialize(serializer)
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

impl Outcome {
    /// Its name in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// A local caller, as the kernel names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// The systemd unit, where the kernel could tell.
    pub unit: Option<String>,
}

/// What it was done to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The authentication.
    pub authentication: Option<AuthenticationId>,
    /// Its owner; unless told otherwise, the log keeps a keyed fingerprint of it.
    pub owner: Option<Owner>,
    /// Its name; the same.
    pub name: Option<String>,
    /// The intent of a dropped document.
    pub intent: Option<Uuid>,
}

impl Target {
    /// An authentication of a known owner.
    pub fn authentication(id: AuthenticationId, owner: &Owner) -> Self {
        Self { authentication: Some(id), owner: Some(owner.clone()), ..Self::default() }
    }

    /// An authentication of which more is known.
    pub fn of(metadata: &Metadata) -> Self {
        Self { name: Some(metadata.name.clone()), ..Self::authentication(metadata.id, &metadata.owner) }
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

impl From<Metadata> for Target {
    fn from(Metadata { id, owner, name, .. }: Metadata) -> Self {
        Self { authentication: Some(id), owner: Some(owner), name: Some(name), intent: None }
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
    pub(super) rule: Option<Arc<str>>,
    pub(super) request: Option<Uuid>,
    pub(super) count: Option<u64>,
    pub(super) slot: Option<Uuid>,
    pub(super) epoch: Option<u32>,
    pub(super) digest: Option<[u8; 32]>,
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
            digest: None,
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
    pub fn under(mut self, rule: Option<impl Into<Arc<str>>>) -> Self {
        self.rule = rule.map(Into::into);
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

    /// The SHA-256 of the configuration that was read.
    #[must_use]
    pub fn digest(mut self, digest: [u8; 32]) -> Self {
        self.digest = Some(digest);
        self
    }

    pub(super) fn begins_segment(&self) -> bool {
        self.action == Action::BeginSegment
    }

    /// The epoch.
    #[must_use]
    pub fn epoch(mut self, number: u32) -> Self {
        self.epoch = Some(number);
        self
    }
}

#[cfg(test)]
impl Action {
    /// Every one.
    pub(super) fn every() -> impl Iterator<Item = Self> {
        std::iter::successors(Some(Self::Start), |action| action.following())
    }

    /// The one that is declared behind it, so that a new one is not forgotten.
    fn following(self) -> Option<Self> {
        match self {
            Self::Start => Some(Self::Stop),
            Self::Stop => Some(Self::Reload),
            Self::Reload => Some(Self::BeginSegment),
            Self::BeginSegment => Some(Self::RemoveSegments),
            Self::RemoveSegments => Some(Self::Repair),
            Self::Repair => Some(Self::CreateVault),
            Self::CreateVault => Some(Self::Unlock),
            Self::Unlock => Some(Self::Lock),
            Self::Lock => Some(Self::AcceptRollback),
            Self::AcceptRollback => Some(Self::Backup),
            Self::Backup => Some(Self::Restore),
            Self::Restore => Some(Self::AddSlot),
            Self::AddSlot => Some(Self::RemoveSlot),
            Self::RemoveSlot => Some(Self::Rotate),
            Self::Rotate => Some(Self::Retire),
            Self::Retire => Some(Self::Rebuild),
            Self::Rebuild => Some(Self::SettleCache),
            Self::SettleCache => Some(Self::MintToken),
            Self::MintToken => Some(Self::CreateUser),
            Self::CreateUser => Some(Self::VerifyWorkspace),
            Self::VerifyWorkspace => Some(Self::Pull),
            Self::Pull => Some(Self::RefusePrincipal),
            Self::RefusePrincipal => Some(Self::Destroy),
            Self::Destroy => Some(Self::Status),
            Self::Status => Some(Self::List),
            Self::List => Some(Self::Explain),
            Self::Explain => Some(Self::Read),
            Self::Read => Some(Self::LoadCredential),
            Self::LoadCredential => Some(Self::Refresh),
            Self::Refresh => Some(Self::RequestSync),
            Self::RequestSync => Some(Self::ConfirmRemovals),
            Self::ConfirmRemovals => Some(Self::Subscribe),
            Self::Subscribe => Some(Self::ListRefusals),
            Self::ListRefusals => Some(Self::Claim),
            Self::Claim => Some(Self::Journal),
            Self::Journal => Some(Self::Reject),
            Self::Reject => Some(Self::Create),
            Self::Create => Some(Self::Update),
            Self::Update => Some(Self::Delete),
            Self::Delete => Some(Self::Settle),
            Self::Settle => Some(Self::ListDocuments),
            Self::ListDocuments => Some(Self::PlanDocument),
            Self::PlanDocument => Some(Self::OpenRejected),
            Self::OpenRejected => Some(Self::RetryDocument),
            Self::RetryDocument => Some(Self::AdoptDocument),
            Self::AdoptDocument => Some(Self::DiscardDocument),
            Self::DiscardDocument => None,
        }
    }
}
