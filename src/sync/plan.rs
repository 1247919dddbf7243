//! What to do about one principal's authentications: a pure function of (remote, local, now).

use std::collections::HashMap;

use jiff::Timestamp;

use super::Config;
use crate::{
    authentication::AuthenticationId,
    tray::Refresh,
    vault::{Fingerprint, Scheduled, State},
};

/// An authentication as Tray lists it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Remote {
    pub(super) id: AuthenticationId,
    /// Of its metadata.
    pub(super) metadata: Fingerprint,
    /// Whether policy permits to pull it in full.
    pub(super) permitted: bool,
}

/// Whether full reads are tried at all for this principal now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FullReads {
    /// They are.
    Try,
    /// Tray has not enabled them, and was asked a short while ago.
    NotEnabled,
}

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// It is new, or its metadata changed: record that.
    Record(AuthenticationId),
    /// Pull it in full and seal it.
    Pull(AuthenticationId, Refresh),
    /// It would be pulled, were full reads enabled: say so.
    Await(AuthenticationId),
    /// No rule permits it (any more): keep metadata only, destroy what is held.
    Withhold(AuthenticationId),
    /// Tray does not list it any more: destroy what is held.
    Remove(AuthenticationId),
}

/// Decides. What is recorded comes before what is pulled.
pub(super) fn plan(
    remote: &[Remote],
    local: &[Scheduled],
    now: Timestamp,
    full_reads: FullReads,
    config: &Config,
) -> Vec<Action> {
    let known: HashMap<_, _> = local.iter().map(|one| (one.id, one)).collect();
    let listed: HashMap<_, _> = remote.iter().map(|one| (one.id, one)).collect();

    let recorded = remote
        .iter()
        .filter(|one| known.get(&one.id).is_none_or(|held| held.metadata != one.metadata || held.state == State::Gone));
    let withheld = remote
        .iter()
        .filter(|one| !one.permitted && known.get(&one.id).is_none_or(|held| held.state != State::NotPermitted));
    let pulled = remote.iter().filter(|one| one.permitted).filter_map(|one| {
        let held = known.get(&one.id).copied();
        let refresh = due(one, held, now, config)?;
        match full_reads {
            FullReads::Try => Some(Action::Pull(one.id, refresh)),
            FullReads::NotEnabled if held.is_some_and(|held| held.state == State::NotEnabled) => None,
            FullReads::NotEnabled => Some(Action::Await(one.id)),
        }
    });
    let removed = local.iter().filter(|held| held.state != State::Gone && !listed.contains_key(&held.id));

    recorded
        .map(|one| Action::Record(one.id))
        .chain(withheld.map(|one| Action::Withhold(one.id)))
        .chain(removed.map(|held| Action::Remove(held.id)))
        .chain(pulled)
        .collect()
}

/// Whether a full read is due: new, changed, never had, old, or about to expire.
fn due(remote: &Remote, held: Option<&Scheduled>, now: Timestamp, config: &Config) -> Option<Refresh> {
    let Some(held) = held else { return Some(Refresh::AsItIs) };
    if held.state != State::Full {
        return Some(Refresh::AsItIs);
    }
    let expired = held.expires_at.is_some_and(|at| at <= now);
    if expired {
        return Some(Refresh::Force);
    }
    let since = |at: Timestamp| now.duration_since(at).unsigned_abs();
    let expires_soon = held.expires_at.is_some_and(|at| since(at) <= config.expiry_margin);
    // A fetch in the future is a clock that was set back: its age is unknown, so it counts as old.
    let old = held.fetched_at.is_none_or(|at| at > now || since(at) >= config.refresh_after);
    (held.metadata != remote.metadata || expires_soon || old).then_some(Refresh::AsItIs)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const HOUR: i64 = 3600;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn id(number: u8) -> AuthenticationId {
        AuthenticationId(Uuid::from_u128(number.into()))
    }

    fn print(number: u8) -> Fingerprint {
        Fingerprint::from_bytes([number; 16])
    }

    fn remote(number: u8) -> Remote {
        Remote { id: id(number), metadata: print(1), permitted: true }
    }

    fn held(number: u8) -> Scheduled {
        Scheduled {
            id: id(number),
            metadata: print(1),
            state: State::Full,
            fetched_at: Some(at(HOUR)),
            expires_at: None,
        }
    }

    fn at_one_past(remote: &[Remote], local: &[Scheduled]) -> Vec<Action> {
        plan(remote, local, at(HOUR + 60), FullReads::Try, &Config::default())
    }

    #[test]
    fn a_new_one_is_recorded_and_pulled() {
        assert_eq!(at_one_past(&[remote(1)], &[]), [Action::Record(id(1)), Action::Pull(id(1), Refresh::AsItIs)]);
    }

    #[test]
    fn an_unchanged_fresh_one_costs_nothing() {
        assert_eq!(at_one_past(&[remote(1)], &[held(1)]), []);
    }

    #[test]
    fn one_that_policy_does_not_permit_is_withheld_and_never_pulled() {
        let denied = Remote { permitted: false, ..remote(1) };
        assert_eq!(at_one_past(&[denied], &[held(1)]), [Action::Withhold(id(1))]);
        let withheld = Scheduled { state: State::NotPermitted, ..held(1) };
        assert_eq!(at_one_past(&[denied], &[withheld]), []);
    }

    #[test]
    fn one_that_is_not_listed_any_more_is_removed_once() {
        assert_eq!(at_one_past(&[], &[held(1)]), [Action::Remove(id(1))]);
        assert_eq!(at_one_past(&[], &[Scheduled { state: State::Gone, ..held(1) }]), []);
    }

    #[test]
    fn one_that_comes_back_is_recorded_and_pulled_again() {
        let gone = Scheduled { state: State::Gone, ..held(1) };
        assert_eq!(at_one_past(&[remote(1)], &[gone]), [Action::Record(id(1)), Action::Pull(id(1), Refresh::AsItIs)]);
    }

    #[test]
    fn age_expiry_and_change_make_a_pull_due_and_only_expired_ones_are_refreshed_by_force() {
        let pull = |refresh| vec![Action::Pull(id(1), refresh)];
        let old = Scheduled { fetched_at: Some(at(0)), ..held(1) };
        assert_eq!(at_one_past(&[remote(1)], &[old]), pull(Refresh::AsItIs));
        let future = Scheduled { fetched_at: Some(at(100 * HOUR)), ..held(1) };
        assert_eq!(at_one_past(&[remote(1)], &[future]), pull(Refresh::AsItIs));
        let soon = Scheduled { expires_at: Some(at(HOUR + 120)), ..held(1) };
        assert_eq!(at_one_past(&[remote(1)], &[soon]), pull(Refresh::AsItIs));
        let expired = Scheduled { expires_at: Some(at(HOUR)), ..held(1) };
        assert_eq!(at_one_past(&[remote(1)], &[expired]), pull(Refresh::Force));
        let later = Scheduled { expires_at: Some(at(3 * HOUR)), ..held(1) };
        assert_eq!(at_one_past(&[remote(1)], &[later]), []);
    }

    #[test]
    fn where_full_reads_are_not_enabled_none_is_tried() {
        let actions = plan(&[remote(1)], &[], at(0), FullReads::NotEnabled, &Config::default());
        assert_eq!(actions, [Action::Record(id(1)), Action::Await(id(1))]);
        let awaiting = Scheduled { state: State::NotEnabled, ..held(1) };
        assert_eq!(plan(&[remote(1)], &[awaiting], at(0), FullReads::NotEnabled, &Config::default()), []);
    }

    fn any_state() -> impl Strategy<Value = State> {
        prop_oneof![
            Just(State::Pending),
            Just(State::NotPermitted),
            Just(State::NotEnabled),
            Just(State::Full),
            Just(State::Gone)
        ]
    }

    proptest! {
        #[test]
        fn nothing_is_pulled_that_is_not_listed_and_permitted(
            remote in prop::collection::btree_map(0_u8..20, (0_u8..3, any::<bool>()), 0..12),
            local in prop::collection::btree_map(0_u8..20, (0_u8..3, any_state(), 0..9 * HOUR, 0..9 * HOUR), 0..12),
            now in 0..9 * HOUR,
        ) {
            let remote: Vec<_> = remote.into_iter()
                .map(|(number, (metadata, permitted))| Remote { id: id(number), metadata: print(metadata), permitted })
                .collect();
            let local: Vec<_> = local.into_iter()
                .map(|(number, (metadata, state, fetched, expires))| Scheduled {
                    id: id(number),
                    metadata: print(metadata),
                    state,
                    fetched_at: Some(at(fetched)),
                    expires_at: Some(at(expires)),
                })
                .collect();
            let config = Config { refresh_after: Duration::from_secs(1800), ..Config::default() };
            for action in plan(&remote, &local, at(now), FullReads::Try, &config) {
                let listed = |id| remote.iter().find(|one| one.id == id);
                match action {
                    Action::Pull(id, _) | Action::Await(id) => prop_assert!(listed(id).is_some_and(|one| one.permitted)),
                    Action::Withhold(id) => prop_assert!(listed(id).is_some_and(|one| !one.permitted)),
                    Action::Record(id) => prop_assert!(listed(id).is_some()),
                    Action::Remove(id) => prop_assert!(listed(id).is_none()),
                }
            }
        }
    }
}
