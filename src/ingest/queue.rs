//! Which document is gone on with, and when: pure, with the time as a parameter. It holds what is not finished and not
//! held, in order of arrival; it is not kept over a restart, when everything is due.
//!
//! A document waits for every earlier one of its owner that it conflicts with (see [`Lane`]); among those that may go, the
//! one that came first goes first. All wait for an earlier one whose owner is yet to be resolved.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;
use uuid::Uuid;

use super::lane::Lane;
use crate::status::Problem;

/// The first wait; each is twice the one before.
const FIRST: Duration = Duration::from_millis(500);

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(60);

/// How far along an owner's line is looked for what may go beside the first.
const LOOKAHEAD: usize = 1024;

/// Of how many that wait the problems are shown.
const SHOWN: usize = 64;

/// Why a document is not finished.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// What is in the way, if something is.
    pub(super) problem: Option<Problem>,
    /// When to go on; `None` after a time that grows.
    pub(super) after: Option<Duration>,
}

/// The documents in line. A number is a place in the order of arrival.
#[derive(Default)]
pub(super) struct Queue {
    next: u64,
    entries: BTreeMap<u64, Entry>,
    numbers: HashMap<Uuid, u64>,
    owners: HashMap<String, VecDeque<u64>>,
    runnable: BTreeSet<u64>,
    unresolved: BTreeSet<u64>,
    waiting: BTreeSet<(Instant, u64)>,
}

struct Entry {
    id: Uuid,
    lane: Lane,
    state: State,
    attempts: u32,
    problem: Option<Problem>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Another comes first.
    Behind,
    Runnable,
    Running,
    Waiting(Instant),
}

impl Queue {
    /// Puts a document at the end of the line, unless it stands there already.
    pub(super) fn push(&mut self, id: Uuid, lane: Lane) {
        if self.has(id) {
            return;
        }
        let number = self.next;
        self.next += 1;
        if lane.unresolved().is_some() {
            self.unresolved.insert(number);
        }
        self.owners.entry(lane.owner.clone()).or_default().push_back(number);
        let owner = lane.owner.clone();
        self.numbers.insert(id, number);
        self.entries.insert(number, Entry { id, lane, state: State::Behind, attempts: 0, problem: None });
        self.promote(&owner);
    }

    /// Takes the document that is to be gone on with now, if there is one: it counts as running from here on. If its owner
    /// is yet to be resolved, that is what is to be done: see [`Self::resolve`].
    pub(super) fn take(&mut self, now: Instant) -> Option<(Uuid, Lane)> {
        while let Some(&(due, number)) = self.waiting.first()
            && due <= now
        {
            self.waiting.remove(&(due, number));
            self.set(number, State::Runnable);
        }
        let number = self.first_runnable()?;
        self.set(number, State::Running);
        self.entries.get(&number).map(|entry| (entry.id, entry.lane.clone()))
    }

    fn first_runnable(&self) -> Option<u64> {
        let number = self.runnable.first().copied()?;
        self.unresolved.first().is_none_or(|unresolved| number <= *unresolved).then_some(number)
    }

    /// A document that ran stands in this lane, at the place of its arrival.
    pub(super) fn resolve(&mut self, id: Uuid, resolved: Lane) {
        let Some(&number) = self.numbers.get(&id) else { return };
        let Some(entry) = self.entries.get_mut(&number) else { return };
        let owner = resolved.owner.clone();
        let before = std::mem::replace(&mut entry.lane, resolved);
        self.unresolved.remove(&number);
        self.leave_line(&before, number);
        let line = self.owners.entry(owner.clone()).or_default();
        let place = line.binary_search(&number).unwrap_or_else(|place| place);
        line.insert(place, number);
        // Those that came after it may have been free to go while it did not stand before them. None has gone, but for one
        // that a person has taken.
        let after: Vec<_> = line.iter().skip(place + 1).copied().collect();
        self.set(number, State::Behind);
        for number in after {
            if self.entries.get(&number).is_some_and(|entry| entry.state != State::Running) {
                self.set(number, State::Behind);
            }
        }
        self.promote(&owner);
    }

    /// Takes a certain document, whether it is due or not; `false` if it runs, or is behind another, or isn't there.
    pub(super) fn take_one(&mut self, id: Uuid) -> bool {
        let Some(&number) = self.numbers.get(&id) else { return false };
        match self.entries.get(&number).map(|entry| entry.state) {
            Some(State::Waiting(_) | State::Runnable) => {
                self.set(number, State::Running);
                true
            }
            _ => false,
        }
    }

    /// Whether a document is in line.
    pub(super) fn has(&self, id: Uuid) -> bool {
        self.numbers.contains_key(&id)
    }

    /// A document that ran is finished, or for a person.
    pub(super) fn finish(&mut self, id: Uuid) {
        let Some(number) = self.numbers.remove(&id) else { return };
        let Some(entry) = self.entries.remove(&number) else { return };
        self.runnable.remove(&number);
        self.unresolved.remove(&number);
        if let State::Waiting(due) = entry.state {
            self.waiting.remove(&(due, number));
        }
        self.leave_line(&entry.lane, number);
    }

    fn leave_line(&mut self, lane: &Lane, number: u64) {
        if let Some(line) = self.owners.get_mut(&lane.owner) {
            // In ascending order, and near the front.
            if let Ok(index) = line.binary_search(&number) {
                line.remove(index);
            }
            if line.is_empty() {
                self.owners.remove(&lane.owner);
            }
        }
        self.promote(&lane.owner);
    }

    /// A document that ran is put off: for as long as it says, and for no longer than its own growing wait.
    pub(super) fn wait(&mut self, id: Uuid, waiting: Waiting, now: Instant) {
        let Some(&number) = self.numbers.get(&id) else { return };
        let Some(entry) = self.entries.get_mut(&number) else { return };
        let backoff = FIRST.saturating_mul(1_u32.checked_shl(entry.attempts).unwrap_or(u32::MAX)).min(LONGEST);
        entry.attempts += 1;
        entry.problem = waiting.problem;
        let wait = waiting.after.map_or(backoff, |after| after.min(backoff));
        self.set(number, State::Waiting(now + wait));
    }

    /// When the next one is due that waits; now, if one may go.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        if self.first_runnable().is_some() { Some(now) } else { self.waiting.first().map(|(due, _)| *due) }
    }

    /// How many are in line.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What is in the way of each one that waits.
    pub(super) fn waiting(&self) -> HashMap<Uuid, Problem> {
        let entries = self.waiting.iter().filter_map(|(_, number)| self.entries.get(number));
        entries.filter_map(|entry| Some((entry.id, entry.problem.clone()?))).collect()
    }

    /// What is in the way of the first that wait, each problem once.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = Vec::new();
        for (_, number) in self.waiting.iter().take(SHOWN) {
            let problem = self.entries.get(number).and_then(|entry| entry.problem.as_ref());
            problems.extend(problem.filter(|problem| !problems.contains(problem)).cloned());
        }
        problems
    }

    fn set(&mut self, number: u64, state: State) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        match std::mem::replace(&mut entry.state, state) {
            State::Runnable => drop(self.runnable.remove(&number)),
            State::Waiting(due) => drop(self.waiting.remove(&(due, number))),
            State::Behind | State::Running => {}
        }
        match state {
            State::Runnable => drop(self.runnable.insert(number)),
            State::Waiting(due) => drop(self.waiting.insert((due, number))),
            State::Behind | State::Running => {}
        }
    }

    /// Lets those of an owner go that wait for no other any more.
    fn promote(&mut self, owner: &str) {
        let Some(line) = self.owners.get(owner) else { return };
        let mut before: Vec<&Lane> = Vec::new();
        let mut free = Vec::new();
        for number in line.iter().take(LOOKAHEAD) {
            let Some(entry) = self.entries.get(number) else { continue };
            if entry.state == State::Behind && !before.iter().any(|lane| lane.conflicts_with(&entry.lane)) {
                free.push(*number);
            }
            if !before.contains(&&entry.lane) {
                before.push(&entry.lane);
            }
        }
        for number in free {
            self.set(number, State::Runnable);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::lane::tests::{lane, unresolved},
        *,
    };
    use crate::authentication::ExternalUserId;

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    fn queue(lanes: &[(&str, Option<&str>)]) -> Queue {
        let mut queue = Queue::default();
        for (number, (owner, environment)) in (1..).zip(lanes) {
            queue.push(id(number), lane(owner, *environment));
        }
        queue
    }

    fn all(queue: &mut Queue, now: Instant) -> Vec<u128> {
        std::iter::from_fn(|| queue.take(now)).map(|(id, _)| id.as_u128()).collect()
    }

    #[test]
    fn of_one_lane_one_goes_and_others_beside_it() {
        let now = Instant::now();
        let mut queue = queue(&[("a", Some("e")), ("a", Some("e")), ("a", Some("f")), ("b", Some("e")), ("a", None)]);
        assert_eq!(all(&mut queue, now), [1, 3, 4]);
        queue.finish(id(1));
        assert_eq!(all(&mut queue, now), [2]);
        queue.finish(id(3));
        assert_eq!(all(&mut queue, now), [], "what names no environment waits for all of its owner's");
        queue.finish(id(2));
        assert_eq!(all(&mut queue, now), [5]);
        assert_eq!(queue.len(), 2);
    }

    #[test]
    fn one_that_waits_holds_up_its_lane_and_nobody_else() {
        let now = Instant::now();
        let mut queue = queue(&[("a", Some("e")), ("a", Some("e")), ("b", Some("e"))]);
        assert_eq!(queue.take(now).map(|(id, _)| id), Some(id(1)));
        let problem = Problem { what: "Tray is away".to_owned(), hint: None };
        queue.wait(id(1), Waiting { problem: Some(problem.clone()), after: None }, now);
        assert_eq!(all(&mut queue, now), [3]);
        assert_eq!((queue.next_due(now), queue.problems()), (Some(now + FIRST), vec![problem]));
        assert_eq!(all(&mut queue, now + FIRST), [1]);
    }

    #[test]
    fn waits_grow_up_to_a_limit_and_never_past_what_was_asked_for() {
        let mut now = Instant::now();
        let mut queue = queue(&[("a", None)]);
        let mut waits = Vec::new();
        for _ in 0..9 {
            assert_eq!(queue.take(now).map(|(id, _)| id), Some(id(1)));
            queue.wait(id(1), Waiting::default(), now);
            let due = queue.next_due(now).expect("a wait");
            waits.push((due - now).as_millis());
            now = due;
        }
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000]);
        queue.take(now);
        queue.wait(id(1), Waiting { after: Some(Duration::from_millis(3)), ..Waiting::default() }, now);
        assert_eq!(queue.next_due(now), Some(now + Duration::from_millis(3)));
        assert!(queue.take_one(id(1)) && !queue.take_one(id(1)));
    }

    #[test]
    fn whoever_is_yet_to_be_resolved_holds_up_what_comes_after_until_it_is_known_who_that_is() {
        let now = Instant::now();
        let mut queue = queue(&[("external a", None), ("external b", None)]);
        queue.push(id(3), unresolved("1"));
        queue.push(id(4), lane("external a", None));
        queue.push(id(5), lane("external c", None));
        assert_eq!(all(&mut queue, now), [1, 2, 3]);
        assert_eq!(queue.next_due(now), None);
        let user = ExternalUserId("a".to_owned());
        queue.resolve(id(3), unresolved("1").resolved(Some(&user)));
        assert_eq!(all(&mut queue, now), [5]);
        queue.finish(id(1));
        assert_eq!(all(&mut queue, now), [3], "before the one that came after it");
        queue.finish(id(3));
        assert_eq!(all(&mut queue, now), [4]);
    }

    #[test]
    fn what_came_after_one_that_is_resolved_stands_behind_it() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.push(id(1), unresolved("1"));
        queue.push(id(2), lane("external a", None));
        assert_eq!(all(&mut queue, now), [1]);
        queue.resolve(id(1), unresolved("1").resolved(Some(&ExternalUserId("a".to_owned()))));
        assert_eq!(all(&mut queue, now), [1]);
        queue.finish(id(1));
        assert_eq!(all(&mut queue, now), [2]);
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// Of an owner, for an environment; whether the owner is yet to be resolved.
        Push(u8, Option<u8>, bool),
        Take,
        Finish(usize),
        Wait(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0..3_u8, proptest::option::of(0..3_u8), proptest::bool::weighted(0.2))
                .prop_map(|(owner, environment, is_unresolved)| Step::Push(owner, environment, is_unresolved)),
            4 => Just(Step::Take),
            3 => any::<usize>().prop_map(Step::Finish),
            1 => any::<usize>().prop_map(Step::Wait),
        ];
        proptest::collection::vec(step, 0..120)
    }

    proptest! {
        /// Whatever happens: no two that conflict run at once, those of a lane in their order, and none is forgotten.
        #[test]
        fn the_order_of_arrival_is_kept_within_every_lane(steps in steps()) {
            let mut now = Instant::now();
            let mut queue = Queue::default();
            let mut lanes: Vec<Lane> = Vec::new();
            let mut unfinished: BTreeSet<usize> = BTreeSet::new();
            let mut running: Vec<usize> = Vec::new();
            for step in steps {
                now += LONGEST;
                match step {
                    Step::Push(owner, environment, is_unresolved) => {
                        let environment = environment.map(|number| number.to_string());
                        lanes.push(lane(&owner.to_string(), environment.as_deref()));
                        let number = lanes.len() - 1;
                        unfinished.insert(number);
                        let as_it_came = if is_unresolved { unresolved(&number.to_string()) } else { lanes[number].clone() };
                        queue.push(id(number as u128), as_it_came);
                    }
                    Step::Take => if let Some((taken, lane)) = queue.take(now) {
                        let number = usize::try_from(taken.as_u128()).expect("small");
                        if lane.unresolved().is_some() {
                            queue.resolve(taken, lanes[number].clone());
                            continue;
                        }
                        let taken = number;
                        let earlier = unfinished.range(..taken);
                        prop_assert!(earlier.clone().all(|one| !lanes[*one].conflicts_with(&lanes[taken])));
                        prop_assert!(!running.contains(&taken));
                        running.push(taken);
                    },
                    Step::Finish(pick) if !running.is_empty() => {
                        let done = running.swap_remove(pick % running.len());
                        unfinished.remove(&done);
                        queue.finish(id(done as u128));
                    }
                    Step::Wait(pick) if !running.is_empty() => {
                        let put_off = running.swap_remove(pick % running.len());
                        queue.wait(id(put_off as u128), Waiting::default(), now);
                    }
                    Step::Finish(_) | Step::Wait(_) => {}
                }
                prop_assert_eq!(queue.len(), unfinished.len());
            }
            // All of it can be finished.
            for one in running.drain(..) {
                unfinished.remove(&one);
                queue.finish(id(one as u128));
            }
            while let Some((taken, lane)) = queue.take(now + LONGEST) {
                if lane.unresolved().is_some() {
                    queue.resolve(taken, lanes[usize::try_from(taken.as_u128()).expect("small")].clone());
                    continue;
                }
                unfinished.remove(&usize::try_from(taken.as_u128()).expect("small"));
                queue.finish(taken);
            }
            prop_assert!(unfinished.is_empty() && queue.len() == 0 && queue.owners.is_empty());
        }
    }
}
