//! The state machine on its own, and the guard around it.

use proptest::prelude::*;

use super::*;

fn admitted(breaker: &mut Breaker, now: Instant) -> Ticket {
    breaker.admit(now, true).expect("the host is asked")
}

/// Opens a circuit; when it is half-open.
fn open(breaker: &mut Breaker, now: Instant) -> Instant {
    for _ in 0..FAILURES {
        let ticket = admitted(breaker, now);
        breaker.failed(ticket, now, 1.0);
    }
    now + FIRST
}

#[test]
fn five_failures_in_a_row_open_it_and_an_answer_in_between_does_not_count() {
    let (mut breaker, now) = (Breaker::new(), Instant::now());
    for round in 0..3 {
        for _ in 1..FAILURES {
            let ticket = admitted(&mut breaker, now);
            breaker.failed(ticket, now, 1.0);
            assert_eq!(breaker.circuit(now), Circuit::Closed, "round {round}");
        }
        let ticket = admitted(&mut breaker, now);
        breaker.succeeded(ticket);
        assert_eq!(breaker.failures, 0);
    }
    let until = open(&mut breaker, now);
    assert_eq!((breaker.circuit(now), breaker.admit(now, true)), (Circuit::Open, None));
    assert_eq!(breaker.circuit(until), Circuit::HalfOpen);
}

#[test]
fn waits_double_up_to_five_minutes_and_an_answer_ends_them() {
    let (mut breaker, now) = (Breaker::new(), Instant::now());
    let mut now = open(&mut breaker, now);
    let mut waits = Vec::new();
    for _ in 0..8 {
        let probe = admitted(&mut breaker, now);
        breaker.failed(probe, now, 1.0);
        let State::Open { until } = breaker.state else { panic!("{breaker:?}") };
        waits.push((until - now).as_secs());
        now = until;
    }
    assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300, 300]);
    let probe = admitted(&mut breaker, now);
    breaker.succeeded(probe);
    assert_eq!((breaker.circuit(now), breaker.failures), (Circuit::Closed, 0));
    assert_eq!(open(&mut breaker, now), now + FIRST);
    assert!(breaker.admit(now + FIRST, true).is_some());
}

#[test]
fn one_harmless_call_is_the_probe_and_whoever_gives_up_frees_its_place() {
    let (mut breaker, now) = (Breaker::new(), Instant::now());
    let now = open(&mut breaker, now);
    assert_eq!(breaker.admit(now, false), None, "it would end in an unknown outcome");
    let probe = admitted(&mut breaker, now);
    assert_eq!(breaker.admit(now, true), None, "there is one already");
    breaker.abandoned(probe, now);
    let next = admitted(&mut breaker, now);
    // The first one's answer comes too late to be believed.
    breaker.succeeded(probe);
    assert_eq!(breaker.circuit(now), Circuit::HalfOpen);
    breaker.succeeded(next);
    assert!(breaker.admit(now, false).is_some());
}

#[test]
fn each_change_is_told_and_a_dropped_passage_is_abandoned() {
    let changes = watch::Sender::new(());
    let mut told = changes.subscribe();
    let host = Host::new("tray.example".to_owned(), changes);
    for _ in 0..FAILURES {
        assert!(!told.has_changed().expect("a sender"));
        host.pass(Repeat::Harmless).expect("closed").failed();
    }
    assert!(told.has_changed().expect("a sender"));
    told.mark_unchanged();
    let standing = host.standing();
    assert_eq!((standing.circuit, standing.failures), (Circuit::Open, 5));
    assert!(standing.retry_in_seconds.is_some_and(|left| (5..=8).contains(&left)), "{standing:?}");

    host.breaker().state = State::Open { until: Instant::now() };
    assert!(host.pass(Repeat::MakesAnother).is_none() && host.pass(Repeat::Deliberate).is_none());
    let probe = host.pass(Repeat::Harmless).expect("the probe");
    assert!(host.pass(Repeat::Harmless).is_none());
    drop(probe);
    host.pass(Repeat::Harmless).expect("its place is free").succeeded();
    assert!(told.has_changed().expect("a sender"));
    assert_eq!(host.standing().circuit, Circuit::Closed);
}

/// Something that happens to a breaker.
#[derive(Clone, Debug)]
enum Step {
    /// A call comes; whether it is harmless.
    Call(bool),
    /// The call that was admitted as the one with this number (of those that are under way) ends.
    End(usize, End),
    /// Milliseconds pass.
    Pass(u64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Answered,
    Failed,
    Abandoned,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let end = prop_oneof![1 => Just(End::Answered), 4 => Just(End::Failed), 1 => Just(End::Abandoned)];
    let step = prop_oneof![
        4 => any::<bool>().prop_map(Step::Call),
        4 => (0_usize..8, end).prop_map(|(which, end)| Step::End(which, end)),
        1 => (0_u64..20_000).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 1..200)
}

proptest! {
    #[test]
    fn whatever_happens_there_is_one_probe_at_most_and_it_is_never_stuck(steps in steps(), spread in 1.0_f64..=1.5) {
        let (mut breaker, mut now) = (Breaker::new(), Instant::now());
        let mut under_way: Vec<Ticket> = Vec::new();
        let mut failed_in_a_row = 0;
        for step in steps {
            let before = breaker.state;
            match step {
                Step::Call(harmless) => under_way.extend(breaker.admit(now, harmless)),
                Step::End(which, end) if which < under_way.len() => {
                    let ticket = under_way.remove(which);
                    let counts = breaker.is_current(ticket);
                    match end {
                        End::Answered => breaker.succeeded(ticket),
                        End::Failed => breaker.failed(ticket, now, spread),
                        End::Abandoned => breaker.abandoned(ticket, now),
                    }
                    match end {
                        End::Answered if counts => failed_in_a_row = 0,
                        End::Failed if counts => failed_in_a_row += 1,
                        _ => {}
                    }
                }
                Step::End(..) => {}
                Step::Pass(milliseconds) => now += Duration::from_millis(milliseconds),
            }
            if let (State::Closed, State::Open { .. }) = (before, breaker.state) {
                prop_assert_eq!(failed_in_a_row, FAILURES);
            }
            if breaker.state == State::Probing {
                let probes = under_way.iter().filter(|ticket| breaker.is_current(**ticket)).count();
                prop_assert_eq!(probes, 1);
            }
            if let State::Open { until } = breaker.state {
                prop_assert!(until <= now + LONGEST.mul_f64(spread));
                prop_assert!(!under_way.iter().any(|ticket| breaker.is_current(*ticket)));
            }
        }
        // Once what is under way has ended, however that be, the longest wait later a call gets through.
        for ticket in under_way {
            breaker.abandoned(ticket, now);
        }
        prop_assert!(breaker.admit(now + LONGEST.mul_f64(1.5), true).is_some());
    }
}
