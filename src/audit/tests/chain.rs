//! How entries come into the log.

use std::{fs::OpenOptions, io::Write, os::unix::net::UnixDatagram, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{system::journald::Journald, task::Tasks};

#[derive(Clone, Debug)]
enum Step {
    Record(u8),
    Synced,
    Together(u8),
    Reopen(bool),
    /// A crash in the middle of a write.
    Torn(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1_u8..20).prop_map(Step::Record),
        Just(Step::Synced),
        (1_u8..40).prop_map(Step::Together),
        any::<bool>().prop_map(Step::Reopen),
        (1_u16..2_000).prop_map(Step::Torn),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_chain_is_whole_and_has_every_entry(steps in prop::collection::vec(step(), 1..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let fixture = Fixture::new();
        let mut log = fixture.open(small());
        let mut read_events = 0;
        for step in steps {
            match step {
                Step::Record(count) => {
                    log.fill(count.into());
                    read_events += u64::from(count);
                }
                Step::Synced => {
                    log.record_synced(&event(7)).unwrap();
                    read_events += 1;
                }
                Step::Together(count) => {
                    runtime.block_on(async {
                        let mut all = tokio::task::JoinSet::new();
                        for number in 0..count {
                            let log = log.clone();
                            all.spawn(async move { log.record_together(event(number.into())).await.is_ok() });
                        }
                        assert!(all.join_all().await.into_iter().all(|written| written));
                    });
                    read_events += u64::from(count);
                }
                Step::Reopen(large) => log = fixture.open(if large { Config::default() } else { small() }),
                Step::Torn(len) => {
                    let mut file = OpenOptions::new().append(true).open(fixture.file()).unwrap();
                    file.write_all(&vec![b'{'; len.into()]).unwrap();
                }
            }
        }
        // The last write may be the torn one.
        log = fixture.open(small());
        log.record(&event(0)).unwrap();
        let found = fixture.found();
        prop_assert_eq!(found.entries, found.head.unwrap().sequence);
        let mut reads = 0;
        let fault = read::<VerifyError>(&fixture.key, fixture.path(), |record| {
            reads += u64::from(record.action == "authentication.read");
            Ok(())
        });
        prop_assert_eq!(fault.unwrap(), None);
        prop_assert_eq!(reads, read_events + 1);
    }
}

/// The numbers of the requests that the entries are of.
fn requests(fixture: &Fixture) -> Vec<u128> {
    let mut requests = Vec::new();
    let fault = read::<VerifyError>(&fixture.key, fixture.path(), |record| {
        requests.extend(record.request.map(|id| id.parse::<uuid::Uuid>().unwrap().as_u128()));
        Ok(())
    });
    assert_eq!(fault.unwrap(), None);
    requests
}

#[tokio::test]
async fn what_comes_together_is_written_in_the_order_in_which_it_came() {
    let fixture = Fixture::new();
    let log = fixture.open(Config::default());
    let all = (0..50).map(|number| log.record_together(event(number)));
    for written in futures_util::future::join_all(all).await {
        written.unwrap();
    }
    assert_eq!(requests(&fixture), (0..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn whoever_gives_up_waiting_has_its_entry_written_with_the_next() {
    let fixture = Fixture::new();
    let log = fixture.open(Config::default());
    let mut given_up = Box::pin(log.record_together(event(1)));
    assert!(futures_util::poll!(&mut given_up).is_pending());
    drop(given_up);
    log.record(&event(2)).unwrap();
    assert_eq!(requests(&fixture), [1, 2]);
}

#[tokio::test]
async fn a_batch_that_can_not_be_written_fails_for_all_of_it_and_the_next_one_is_written() {
    let fixture = Fixture::new();
    let log = fixture.open(Config::default());
    let elsewhere = fixture.path().join("elsewhere");
    fs::rename(fixture.file(), &elsewhere).unwrap();
    let all = (0..5).map(|number| log.record_together(event(number)));
    for written in futures_util::future::join_all(all).await {
        assert!(matches!(*written.unwrap_err(), AuditError::Cut(_)));
    }
    assert_eq!(log.tally().1, 5);
    fs::rename(elsewhere, fixture.file()).unwrap();
    log.record_together(event(9)).await.unwrap();
    assert_eq!(requests(&fixture), [9]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_threads_lose_no_entry_and_write_none_twice() {
    let fixture = Fixture::new();
    let log = fixture.open(small());
    let mut all = tokio::task::JoinSet::new();
    for task in 0..8 {
        let log = log.clone();
        all.spawn(async move {
            for number in 0..100 {
                log.record_together(event(task * 100 + number)).await.unwrap();
            }
        });
    }
    all.join_all().await;
    let mut requests = requests(&fixture);
    requests.sort_unstable();
    assert_eq!(requests, (0..800).collect::<Vec<_>>());
}

#[test]
fn entries_go_to_journald_as_fields() {
    let fixture = Fixture::new();
    let socket = fixture.path().join("journal");
    let journal = UnixDatagram::bind(&socket).unwrap();
    journal.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let log = fixture.open(Config::default());
    log.mirror_to(Journald::connect(&socket).unwrap()).unwrap();
    log.record(&event(1)).unwrap();
    let receive = || {
        let mut datagram = [0; 4096];
        let len = journal.recv(&mut datagram).unwrap();
        String::from_utf8(datagram[..len].to_vec()).unwrap()
    };
    let id = uuid::Uuid::from_u128(1);
    assert_eq!(
        receive(),
        format!(
            "MESSAGE=authentication.read: done\nPRIORITY=6\nSYSLOG_IDENTIFIER=trayvault\n\
             MESSAGE_ID={}\nTRAYVAULT_ACTION=authentication.read\nTRAYVAULT_DECISION=done\n\
             TRAYVAULT_AUTHENTICATION_ID={id}\nTRAYVAULT_CALLER_UID=1000\nTRAYVAULT_CALLER_UNIT=billing.service\n\
             TRAYVAULT_RULE=billing reads\nTRAYVAULT_REQUEST_ID={id}\nTRAYVAULT_AUDIT_SEQUENCE=2\n",
            mirror::message_id("authentication.read")
        )
    );
    let head = log.head();
    log.tell_anchor(head);
    assert!(receive().contains(&format!("TRAYVAULT_AUDIT_SEQUENCE=2\nTRAYVAULT_AUDIT_MAC={}\n", head.mac())));
}

#[tokio::test]
async fn anchors_go_to_a_file_and_a_program_and_only_where_there_is_news() {
    let fixture = Fixture::new();
    let log = fixture.open(Config::default());
    let (file, given) = (fixture.path().join("anchors"), fixture.path().join("given"));
    let config = AnchorConfig {
        interval: Duration::from_millis(10),
        file: Some(file.clone()),
        command: vec!["/bin/sh".to_owned(), "-c".to_owned(), format!("exec /bin/cat >> {}", given.display())],
    };
    let mut tasks = Tasks::default();
    tasks.spawn("anchors", Anchors::new(log.clone(), config).run(tasks.shutdown()));
    let anchors = || fs::read_to_string(&file).map(|text| Anchor::parse_lines(&text).unwrap()).unwrap_or_default();
    while anchors().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(anchors(), [log.head()]);
    log.fill(3);
    while anchors().len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    log.fill(1);
    let _ = tasks.drain(Duration::from_secs(10)).await;
    assert_eq!(anchors().last(), Some(&log.head()), "one as it ends");
    assert_eq!(fs::read_to_string(&given).unwrap(), fs::read_to_string(&file).unwrap());
    assert!(matches!(fixture.verify(&anchors()), Verdict::Intact(_)));
}

/// Whoever was told to write hung up, or something panicked while it wrote for others.
#[tokio::test]
async fn one_who_stops_leaves_none_of_the_others_waiting() {
    let fixture = Fixture::new();
    let log = fixture.open(Config::default());
    let queue = log.0.queues.own();
    let (first, turn) = queue.join(event(1));
    let turn = turn.expect("nobody else writes");
    assert!(queue.turn().is_none(), "one does");
    let mut others: Vec<_> = (2..4).map(|number| Box::pin(log.record_together(event(number)))).collect();
    for other in &mut others {
        for _ in 0..2 {
            assert!(futures_util::poll!(other.as_mut()).is_pending());
        }
    }
    // What it has taken fails as it goes.
    let taken = queue.take().expect("what waits");
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _held = (turn, taken);
        panic!("meanwhile");
    }));
    assert!(caught.is_err());
    assert!(first.get().is_some_and(Result::is_err));
    for other in others {
        assert!(other.await.is_err(), "it was among what was taken");
    }
    // Of two who wait the one that is told goes.
    let (one, turn) = queue.join(event(4));
    let turn = turn.expect("nobody else writes");
    let mut told = Box::pin(log.record_together(event(5)));
    let mut other = Box::pin(log.record_together(event(6)));
    for future in [&mut told, &mut other] {
        for _ in 0..2 {
            assert!(futures_util::poll!(future.as_mut()).is_pending());
        }
    }
    drop(turn);
    drop(told);
    other.await.unwrap();
    assert!(one.get().is_some_and(Result::is_ok));
    assert!(matches!(fixture.verify(&[]), Verdict::Intact(_)));
    assert_eq!(log.head().sequence, 4, "the first, and three of these");
    // One that is about to write goes.
    let mut first = Box::pin(log.record_together(event(7)));
    let mut next = Box::pin(log.record_together(event(8)));
    for future in [&mut first, &mut next] {
        assert!(futures_util::poll!(future.as_mut()).is_pending());
    }
    drop(first);
    next.await.unwrap();
    assert_eq!(log.head().sequence, 6);
}
