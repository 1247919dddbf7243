//! One request of systemd's: decided, found, and recorded before there is anything to write.

use std::sync::Arc;

use super::{address::Address, content};
use crate::{
    audit::{Action, Actor, Event, Outcome, Target},
    freshness::Standing,
    policy::{CredentialDecision, Policy, Refusal},
    secret::SecretBytes,
    socket::{Api, answer::ApiError, asked::Asked, held},
    system::{
        peer::Peer,
        process::{self, Process},
    },
};

/// Who asked for what, and how far it got: what there is to record.
pub(super) struct Load<'a> {
    api: &'a Api,
    address: Option<Address>,
    actor: Actor,
    target: Target,
    rule: Option<String>,
}

/// Why a credential is not given.
struct Withheld {
    outcome: Outcome,
    reason: &'static str,
}

impl<'a> Load<'a> {
    /// A peer that asks, by the abstract name that its end of the connection has.
    pub(super) fn new(api: &'a Api, peer: &Peer, name: Option<&[u8]>) -> Self {
        // Root's word for it, and nobody else's.
        let address = name.filter(|_| peer.uid == 0).and_then(Address::parse);
        let actor = Actor { uid: peer.uid, gid: peer.gid, unit: address.as_ref().map(|address| address.unit.clone()) };
        Self { api, address, actor, target: Target::default(), rule: None }
    }

    /// The credential. It leaves this function only once its entry is written; `None` is a refusal, which is recorded.
    pub(super) fn credential(&mut self) -> Option<SecretBytes> {
        let found = self.find();
        let (outcome, reason) = match &found {
            Ok(_) => (Outcome::Done, None),
            Err(Withheld { outcome, reason }) => (*outcome, Some(*reason)),
        };
        self.record(outcome, reason).then_some(found.ok()).flatten()
    }

    /// Records that what was given was not taken.
    pub(super) fn not_taken(&self) {
        self.record(Outcome::Failed, Some("its peer did not read all of it"));
    }

    fn find(&mut self) -> Result<SecretBytes, Withheld> {
        if self.actor.uid != 0 {
            return Err(Withheld::refused("only root may ask, which systemd does"));
        }
        let address = self.address.as_ref().ok_or(Withheld::refused("its peer's address is not systemd's"))?;
        let policy = Arc::clone(&self.api.policy.borrow());
        let rule = match policy.credential(&address.unit, &address.credential) {
            CredentialDecision::Granted(rule) => rule,
            CredentialDecision::Refused(refusal) => return Err(Withheld::refused(refusal.as_str())),
        };
        if runs_guarded(&policy, &address.unit) {
            return Err(Withheld::refused(Refusal::BesideGuarded.as_str()));
        }
        self.rule = Some(rule.name.clone());
        self.target.authentication = Some(rule.authentication);
        if !self.api.cache.keyring().is_unlocked() {
            return Err(Withheld::refused(ApiError::Locked.message()));
        }
        let record = self.api.cache.record(rule.authentication).map_err(|error| Asked::unreadable(&error))?;
        let metadata = record.ok_or(ApiError::NotFound)?.metadata;
        self.target = Target::of(&metadata);
        held::permitted(&self.api.policy.borrow(), &metadata)?;
        match held::open(self.api, &metadata)?.ok_or(ApiError::NotHeld)? {
            (secret, Standing::Fresh | Standing::Stale) => {
                content::make(rule, secret.body).map_err(|unfit| Withheld::failed(unfit.as_str()))
            }
            _ => Err(Withheld::failed("what is held is too old to be answered")),
        }
    }

    /// Whether it is on record now. For the developer's log there is the credential's name, too.
    fn record(&self, outcome: Outcome, reason: Option<&'static str>) -> bool {
        let mut event = Event::new(Action::LoadCredential, outcome).by(self.actor.clone()).on(self.target.clone());
        if let Some(reason) = reason {
            event = event.because(reason);
            let (unit, credential) = self.address.as_ref().map(|one| (&*one.unit, &*one.credential)).unzip();
            tracing::warn!(
                uid = self.actor.uid,
                unit,
                credential,
                rule = self.rule,
                reason,
                "a credential was not given"
            );
        }
        self.api.metrics.credential_load(word(outcome));
        let (audit, event) = (&self.api.audit, event.under(self.rule.as_deref()));
        // A refusal is evidence, and rare here.
        let recorded = if outcome == Outcome::Refused { audit.record_synced(&event) } else { audit.record(&event) };
        recorded.inspect_err(|error| tracing::error!(%error, "a credential was withheld")).is_ok()
    }
}

/// Whether a process that the workflow guard names runs in a unit. Before a unit's first command nothing runs in it, and
/// systemd loads credentials for the later ones too.
fn runs_guarded(policy: &Policy, unit: &str) -> bool {
    let guard = policy.guard();
    let is_guarded = |process: &Process| {
        process.unit.as_deref() == Some(unit) && guard.names_process(&process.units, &process.names)
    };
    // What can't be seen may be there.
    guard.looks_at_processes() && process::all().map_or(true, |all| all.iter().any(is_guarded))
}

/// What metrics call an outcome.
fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Begun => "begun",
        Outcome::Done => "done",
        Outcome::Refused => "refused",
        Outcome::Failed => "failed",
    }
}

impl Withheld {
    fn refused(reason: &'static str) -> Self {
        Self { outcome: Outcome::Refused, reason }
    }

    fn failed(reason: &'static str) -> Self {
        Self { outcome: Outcome::Failed, reason }
    }
}

impl From<ApiError> for Withheld {
    fn from(error: ApiError) -> Self {
        Self::failed(error.message())
    }
}
