//! What to do about one principal's authentications: a pure function of (remote, local, now).

use std::time::Duration;

use jiff::Timestamp;

use super::Config;
use crate::{
    authentication::AuthenticationId,
    vault::{Fingerprint, GoneReason, Scheduled, State},
};

/// How long the timer leaves alone what Tray refused: full reads that are not enabled, or not permitted.
pub const REFUSAL_PAUSE: Duration = Duration::from_secs(60 * 60);

/// The shortest time from one pull before an expiry to the next.
const SHORTEST_LEAD: Duration = Duration::from_secs(30);

/// An authentication as Tray lists it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Which.
    pub id: AuthenticationId,
    /// Of its metadata.
    pub metadata: Fingerprint,
    /// Whether policy permits to pull it in full.
    pub permitted: bool,
}

/// Who wants a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The interval has passed.
    ByTimer,
    /// A person, a new configuration or a dropped file: who asks does not wait for a slow timer.
    ByRequest,
}

/// Whether full reads are tried at all for this principal now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FullReads {
    /// They are.
    Try,
    /// Tray has not enabled them, and was asked a short while ago.
    NotEnabled,
}

/// Why a pull is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// It expires soon, or has.
    Expiry,
    /// Its metadata changed.
    Changed,
    /// None is held that may be answered.
    New,
    /// It is old.
    Age,
}

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is new, or its metadata changed: record that.
    Record(AuthenticationId),
    /// Pull it in full and seal it.
    Pull(AuthenticationId, Due),
    /// It would be pulled, were full reads enabled: say so.
    Await(AuthenticationId),
    /// No rule permits it (any more): keep metadata only, destroy what is held.
    Withhold(AuthenticationId),
    /// Tray does not list it any more: destroy what is held.
    Remove(AuthenticationId),
}

/// Decides. What is recorded comes before what is pulled.
pub fn plan(
    remote: &[Remote],
    local: &[Scheduled],
    now: Timestamp,
    asked: Asked,
    full_reads: FullReads,
    config: &Config,
) -> Vec<Action> {
    let Matched { held, is_listed } = Matched::of(remote, local);
    let (mut actions, mut withheld, mut pulled) = (Vec::new(), Vec::new(), Vec::new());
    for (one, held) in remote.iter().zip(held) {
        if asked == Asked::ByTimer && held.is_some_and(|held| was_refused_lately(one, held, now)) {
            continue;
        }
        if held.is_none_or(|held| held.metadata != one.metadata || held.state == State::Gone) {
            actions.push(Action::Record(one.id));
        }
        if !one.permitted {
            if held.is_none_or(|held| held.state != State::NotPermitted) {
                withheld.push(Action::Withhold(one.id));
            }
        } else if let Some(due) = due(one, held, now, config) {
            match full_reads {
                FullReads::Try => pulled.push(Action::Pull(one.id, due)),
                FullReads::NotEnabled if held.is_some_and(|held| held.state == State::NotEnabled) => {}
                FullReads::NotEnabled => pulled.push(Action::Await(one.id)),
            }
        }
    }
    actions.append(&mut withheld);
    let missing = local.iter().zip(is_listed).filter(|(held, is_listed)| held.state != State::Gone && !is_listed);
    actions.extend(missing.map(|(held, _)| Action::Remove(held.id)));
    actions.append(&mut pulled);
    actions
}

/// Both sides of a plan, each in its own order.
struct Matched<'a> {
    /// Of each one that is listed, what is held.
    held: Vec<Option<&'a Scheduled>>,
    /// Of each one that is held, whether it is listed.
    is_listed: Vec<bool>,
}

impl<'a> Matched<'a> {
    /// Sorts both by id and walks along them. On a million that takes a fifth of the time that hash tables do, of whose
    /// look-ups each waits for memory.
    fn of(remote: &[Remote], local: &'a [Scheduled]) -> Self {
        let mut matched = Self { held: vec![None; remote.len()], is_listed: vec![false; local.len()] };
        let known = by_id(local.iter().map(|held| held.id));
        let mut rest = known.as_slice();
        for (id, listed) in by_id(remote.iter().map(|one| one.id)) {
            rest = &rest[rest.iter().take_while(|(other, _)| *other < id).count()..];
            for (_, held) in rest.iter().take_while(|(other, _)| *other == id) {
                matched.held[listed] = Some(&local[*held]);
                matched.is_listed[*held] = true;
            }
        }
        matched
    }
}

/// The ids in order, each with its place before.
fn by_id(ids: impl Iterator<Item = AuthenticationId>) -> Vec<(AuthenticationId, usize)> {
    let mut sorted: Vec<_> = ids.enumerate().map(|(place, id)| (id, place)).collect();
    sorted.sort_unstable();
    sorted
}

/// Whether it is listed though Tray refused it a short while ago.
fn was_refused_lately(remote: &Remote, held: &Scheduled, now: Timestamp) -> bool {
    let lately = |at: Timestamp| now.duration_since(at).unsigned_abs() < REFUSAL_PAUSE;
    held.metadata == remote.metadata
        && held.gone.is_some_and(|(at, reason)| reason == GoneReason::PermissionLost && lately(at))
}

/// Whether a full read is due, and why.
fn due(remote: &Remote, held: Option<&Scheduled>, now: Timestamp, config: &Config) -> Option<Due> {
    let Some(held) = held else { return Some(Due::New) };
    // A fetch in the future is a clock that was set back: its age is unknown, so it counts as old.
    let old = |at: Timestamp| at > now || now.duration_since(at).unsigned_abs() >= config.refresh_after;
    if held.state != State::Full {
        Some(Due::New)
    } else if held.metadata != remote.metadata {
        Some(Due::Changed)
    } else if expires(held, now, config.expiry_margin) {
        Some(Due::Expiry)
    } else {
        held.fetched_at.is_none_or(old).then_some(Due::Age)
    }
}

/// Whether a pull is due because of what is held expires: ahead of it by the margin and up to half as much again, then
/// whenever half of the time that was left has passed, until Tray has newer ones. Once they have expired they are pulled
/// at once, and after that by their age.
pub fn expires(held: &Scheduled, now: Timestamp, margin: Duration) -> bool {
    let (Some(fetched_at), Some(expires_at)) = (held.fetched_at, held.expires_at) else { return false };
    if expires_at <= now || fetched_at >= expires_at {
        return fetched_at < expires_at;
    }
    let left_then = expires_at.duration_since(fetched_at).unsigned_abs();
    let wait = (left_then.saturating_sub(lead(held.id, margin))).max(left_then / 2).max(SHORTEST_LEAD);
    fetched_at <= now && now.duration_since(fetched_at).unsigned_abs() >= wait
}

/// The longest [lead](expires) there is.
pub fn longest_lead(margin: Duration) -> Duration {
    margin.mul_f64(1.5)
}

/// The margin and up to half as much again, by the id: what expires together is not pulled together.
fn lead(id: AuthenticationId, margin: Duration) -> Duration {
    let (_, low) = id.0.as_u64_pair();
    // The low 32 bits of a UUID are random, or a node's (RFC 9562).
    let share = f64::from(u32::try_from(low & u64::from(u32::MAX)).unwrap_or_default()) / f64::from(u32::MAX);
    margin.mul_f64(1.0 + share / 2.0)
}

/// How many of the authentications that are there a cycle may remove without asking: fewer than five, or the share.
pub fn removal_allowance(present: u64, max_percent: u8) -> usize {
    const NEVER_MANY: u64 = 4;
    usize::try_from((present * u64::from(max_percent) / 100).max(NEVER_MANY)).unwrap_or(usize::MAX)
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
            gone: None,
            fetched_at: Some(at(HOUR)),
            expires_at: None,
        }
    }

    fn at_one_past(remote: &[Remote], local: &[Scheduled]) -> Vec<Action> {
        plan(remote, local, at(HOUR + 60), Asked::ByTimer, FullReads::Try, &Config::default())
    }

    #[test]
    fn a_new_one_is_recorded_and_pulled() {
        assert_eq!(at_one_past(&[remote(1)], &[]), [Action::Record(id(1)), Action::Pull(id(1), Due::New)]);
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
        assert_eq!(at_one_past(&[remote(1)], &[gone]), [Action::Record(id(1)), Action::Pull(id(1), Due::New)]);
    }

    #[test]
    fn both_sides_keep_their_order() {
        let remote = [7, 2, 5].map(remote);
        let local = [9, 5, 1, 2].map(held);
        let expected =
            [Action::Record(id(7)), Action::Remove(id(9)), Action::Remove(id(1)), Action::Pull(id(7), Due::New)];
        assert_eq!(at_one_past(&remote, &local), expected);
    }

    #[test]
    fn age_and_change_make_a_pull_due() {
        let pull = |due| vec![Action::Pull(id(1), due)];
        let old = Scheduled { fetched_at: Some(at(0)), ..held(1) };
        assert_eq!(at_one_past(&[remote(1)], &[old]), pull(Due::Age));
        let future = Scheduled { fetched_at: Some(at(100 * HOUR)), ..held(1) };
        assert_eq!(at_one_past(&[remote(1)], &[future]), pull(Due::Age));
        let changed = Scheduled { metadata: print(9), ..held(1) };
        assert_eq!(at_one_past(&[remote(1)], &[changed]), [Action::Record(id(1)), Action::Pull(id(1), Due::Changed)]);
        for state in [State::Pending, State::NotEnabled, State::Damaged, State::Refused] {
            assert_eq!(at_one_past(&[remote(1)], &[Scheduled { state, ..held(1) }]), pull(Due::New), "{state:?}");
        }
    }

    /// When a pull is due for its expiry, if it was fetched at 0 and nothing ever changes in Tray.
    fn pulls_until(expires_at: i64, end: i64, margin: i64) -> Vec<i64> {
        let mut one = Scheduled { fetched_at: Some(at(0)), expires_at: Some(at(expires_at)), ..held(0) };
        let margin = Duration::from_secs(margin.unsigned_abs());
        let mut pulls = Vec::new();
        for now in 0..end {
            if expires(&one, at(now), margin) {
                pulls.push(now);
                one.fetched_at = Some(at(now));
            }
        }
        pulls
    }

    #[test]
    fn what_expires_is_pulled_ahead_then_at_shorter_and_shorter_times_then_once() {
        assert_eq!(pulls_until(HOUR, 2 * HOUR, 600), [3000, 3300, 3450, 3525, 3563, 3593, 3600]);
        assert_eq!(pulls_until(120, 2 * HOUR, 600), [60, 90, 120], "it lives shorter than the margin");
        assert_eq!(pulls_until(-5, HOUR, 600), Vec::<i64>::new(), "it was expired when it came");
    }

    #[test]
    fn the_lead_is_between_the_margin_and_half_as_much_again() {
        let margin = Duration::from_secs(600);
        let leads: Vec<_> = (0..100_u128)
            .map(|number| lead(AuthenticationId(Uuid::from_u128(number * 0x2545_f491_4f6c_dd1d)), margin))
            .collect();
        assert!(leads.iter().all(|lead| (margin..=longest_lead(margin)).contains(lead)));
        let early = leads.iter().filter(|lead| **lead > margin.mul_f64(1.25)).count();
        assert!((20..=80).contains(&early), "they are spread: {early} of 100 in the earlier half");
    }

    #[test]
    fn what_tray_refused_is_left_alone_for_a_while_by_the_timer_only() {
        let gone = |reason, at_second| Scheduled { state: State::Gone, gone: Some((at(at_second), reason)), ..held(1) };
        let lately = gone(GoneReason::PermissionLost, HOUR);
        assert_eq!(at_one_past(&[remote(1)], &[lately]), []);
        let again = [Action::Record(id(1)), Action::Pull(id(1), Due::New)];
        let by_request =
            plan(&[remote(1)], &[lately], at(HOUR + 60), Asked::ByRequest, FullReads::Try, &Config::default());
        assert_eq!(by_request, again);
        assert_eq!(at_one_past(&[remote(1)], &[gone(GoneReason::PermissionLost, 0)]), again, "a while ago");
        assert_eq!(
            at_one_past(&[remote(1)], &[gone(GoneReason::PermissionLost, 99 * HOUR)]),
            again,
            "the clock was set back"
        );
        assert_eq!(at_one_past(&[remote(1)], &[gone(GoneReason::DeletedUpstream, HOUR)]), again);
        assert_eq!(at_one_past(&[Remote { metadata: print(2), ..remote(1) }], &[lately]), again, "it changed");
    }

    #[test]
    fn few_removals_are_never_many() {
        let allowed = |present| removal_allowance(present, 20);
        assert_eq!([0, 1, 8, 24, 25, 100, 10_000].map(allowed), [4, 4, 4, 4, 5, 20, 2_000]);
        assert_eq!(removal_allowance(1_000, 0), 4);
        assert_eq!(removal_allowance(1_000, 100), 1_000);
    }

    #[test]
    fn where_full_reads_are_not_enabled_none_is_tried() {
        let actions = plan(&[remote(1)], &[], at(0), Asked::ByTimer, FullReads::NotEnabled, &Config::default());
        assert_eq!(actions, [Action::Record(id(1)), Action::Await(id(1))]);
        let awaiting = Scheduled { state: State::NotEnabled, ..held(1) };
        assert_eq!(
            plan(&[remote(1)], &[awaiting], at(0), Asked::ByTimer, FullReads::NotEnabled, &Config::default()),
            []
        );
    }

    fn any_state() -> impl Strategy<Value = State> {
        prop_oneof![
            Just(State::Pending),
            Just(State::NotPermitted),
            Just(State::NotEnabled),
            Just(State::Full),
            Just(State::Gone),
            Just(State::Damaged),
            Just(State::Refused)
        ]
    }

    proptest! {
        #[test]
        fn what_is_matched_is_what_a_search_finds(
            remote in prop::collection::vec((0_u8..20).prop_map(remote), 0..24),
            local in prop::collection::vec((0_u8..20).prop_map(held), 0..24),
        ) {
            let matched = Matched::of(&remote, &local);
            for (one, held) in remote.iter().zip(matched.held) {
                prop_assert_eq!(held, local.iter().find(|held| held.id == one.id));
            }
            for (held, is_listed) in local.iter().zip(matched.is_listed) {
                prop_assert_eq!(is_listed, remote.iter().any(|one| one.id == held.id));
            }
        }

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
                    gone: None,
                    fetched_at: Some(at(fetched)),
                    expires_at: Some(at(expires)),
                })
                .collect();
            let config = Config { refresh_after: Duration::from_secs(1800), ..Config::default() };
            for action in plan(&remote, &local, at(now), Asked::ByTimer, FullReads::Try, &config) {
                let listed = |id| remote.iter().find(|one| one.id == id);
                match action {
                    Action::Pull(id, _) | Action::Await(id) => prop_assert!(listed(id).is_some_and(|one| one.permitted)),
                    Action::Withhold(id) => prop_assert!(listed(id).is_some_and(|one| !one.permitted)),
                    Action::Record(id) => prop_assert!(listed(id).is_some()),
                    Action::Remove(id) => prop_assert!(listed(id).is_none()),
                }
            }
        }

        /// Whatever the clock does, a plan that is carried out leaves nothing due, and nothing is left out for longer
        /// than its age allows.
        #[test]
        fn a_clock_that_steps_neither_stampedes_nor_stalls(
            local in prop::collection::btree_map(0_u8..20, (0..9 * HOUR, prop::option::of(0..20 * HOUR)), 1..12),
            steps in prop::collection::vec(-50 * 365 * 24 * HOUR..50 * 365 * 24 * HOUR, 1..6),
        ) {
            let config = Config::default();
            let remote: Vec<_> = local.keys().map(|number| remote(*number)).collect();
            let mut local: Vec<_> = local.into_iter()
                .map(|(number, (fetched, expires))| Scheduled {
                    fetched_at: Some(at(fetched)),
                    expires_at: expires.map(at),
                    ..held(number)
                })
                .collect();
            let mut now = 9 * HOUR;
            for step in steps {
                now = (now + step).clamp(-60 * 365 * 24 * HOUR, 200 * 365 * 24 * HOUR);
                let pulled: Vec<_> = plan(&remote, &local, at(now), Asked::ByTimer, FullReads::Try, &config)
                    .into_iter()
                    .map(|action| match action {
                        Action::Pull(id, _) => id,
                        other => panic!("only pulls are due: {other:?}"),
                    })
                    .collect();
                // Tray has nothing newer: the expiry stays.
                for one in local.iter_mut().filter(|one| pulled.contains(&one.id)) {
                    one.fetched_at = Some(at(now));
                }
                let again = plan(&remote, &local, at(now + 1), Asked::ByTimer, FullReads::Try, &config);
                let expire_now = local.iter().filter(|one| one.expires_at == Some(at(now + 1))).count();
                prop_assert_eq!(again.len(), expire_now, "each was pulled once");
                let later = now + i64::try_from(config.refresh_after.as_secs()).expect("short");
                let by_then = plan(&remote, &local, at(later), Asked::ByTimer, FullReads::Try, &config);
                prop_assert_eq!(by_then.len(), local.len(), "each is due again in time");
            }
        }
    }
}
