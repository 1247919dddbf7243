use super::{
    super::{
        document::Action,
        intent::{Acked, Duplicate, Effect, End, Line, Operation, Rejected, Sent},
        lane::Lane,
        refusal::Kind,
    },
    *,
};
use crate::{
    authentication::{AuthenticationId, Owner},
    secret::Key,
    vault::{self, NewSlot},
};

fn keyring(dir: &Path) -> Arc<Keyring> {
    let Ok(key) = Key::try_fill(|key| {
        key.fill(7);
        Ok::<_, std::convert::Infallible>(())
    });
    vault::create(dir, &[NewSlot::Raw { key: &key }]).expect("a vault").into_keyring()
}

fn open(path: &Path, keyring: Arc<Keyring>) -> Journal {
    Journal::open(path, keyring, Continuity::default(), Arc::default()).expect("a journal")
}

fn slip(number: u128) -> Slip {
    Slip {
        id: Uuid::from_u128(number),
        file: format!("file {number}"),
        line: None,
        action: Some(Action::Delete),
        received_at: now(),
        lane: Lane::default(),
        fingerprint: None,
        sealed: false,
    }
}

/// Journals a document, and gives its intent.
fn admit(journal: &Journal, slip: Slip) -> Intent<Journaled> {
    let document = SecretBytes::new(b"document".to_vec());
    journal.admit(&[Admission { slip: slip.clone(), document, refusal: None }]).expect("admitted");
    Intent { slip, state: Journaled {}, revision: 0 }
}

fn sent() -> Sent {
    let operation = Operation::Delete { id: AuthenticationId(Uuid::from_u128(9)) };
    Sent { owner: Owner::Workspace, operation, schema_checked: false, notes: Vec::new(), sent_at: now(), attempt: 1 }
}

#[tokio::test]
async fn every_state_is_as_it_was_left_when_the_journal_is_opened_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("journal.db");
    let keyring = keyring(&dir.path().join("vault"));
    let open = || open(&path, Arc::clone(&keyring));
    let document = SecretBytes::new(b"document".to_vec());
    {
        let journal = open();
        let admit = |number| admit(&journal, slip(number));
        let refusal = Refusal::new(Kind::Schema, "no").at("/credentials");
        journal.advance(admit(1), Rejected { refusal, at: now() }).await.expect("committed");
        admit(2);
        let three = journal.advance(admit(3), sent()).await.expect("committed");
        let state = three.state.clone();
        let acked = Acked {
            authentication: AuthenticationId(Uuid::from_u128(9)),
            effect: Effect::Deleted,
            settled_at: now(),
            sent: state,
        };
        journal.advance(three, acked).await.expect("committed");
        let four = journal.advance(admit(4), sent()).await.expect("committed");
        journal.advance(four, Journaled {}).await.expect("committed");
        journal.advance(admit(5), sent()).await.expect("committed");
    }
    let journal = open();
    let Contents { unfinished, damaged } = journal.contents().await.expect("readable");
    assert!(damaged.is_empty());
    let [
        Unfinished::Rejected(one),
        Unfinished::Journaled(two),
        Unfinished::Acked(_),
        Unfinished::Journaled(_),
        Unfinished::Sent(five),
    ] = &unfinished[..]
    else {
        panic!("{unfinished:?}")
    };
    assert_eq!(one.state.refusal.pointer.as_deref(), Some("/credentials"));
    assert_eq!((two.slip.file.as_str(), two.revision), ("file 2", 0));
    assert_eq!(five.state.owner, Owner::Workspace);
    assert!(journal.document(&two.slip).await.expect("sealed").equals(&document));
    assert!(journal.holds(five.slip.id).expect("readable"));

    let Some(Unfinished::Rejected(one)) = unfinished.into_iter().next() else { panic!("the first") };
    let id = one.slip.id;
    journal.finish(one).await.expect("finished");
    assert!(!journal.holds(id).expect("readable"));
}

#[tokio::test]
async fn out_of_a_backup_nothing_that_may_have_been_sent_since_is_sent() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = open(&dir.path().join("journal.db"), keyring(&dir.path().join("vault")));
    admit(&journal, slip(1));
    journal.advance(admit(&journal, slip(2)), sent()).await.expect("committed");
    assert_eq!(journal.reject_unsettled().expect("rejected"), 2);
    assert_eq!(journal.reject_unsettled().expect("rejected"), 0);
    let contents = journal.contents().await.expect("readable");
    assert!(contents.unfinished.iter().all(|intent| matches!(intent, Unfinished::Rejected(_))));
}

#[tokio::test]
async fn a_row_that_was_tampered_with_is_damaged_and_an_old_state_goes_nowhere() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = open(&dir.path().join("journal.db"), keyring(&dir.path().join("vault")));
    let one = admit(&journal, slip(1));
    let (again, copy) = (one.slip.clone(), Intent { slip: one.slip.clone(), state: Journaled {}, revision: 0 });
    journal.advance(one, sent()).await.expect("committed");
    let stale = journal.advance(copy, sent()).await;
    assert!(matches!(stale, Err(JournalError::Damaged(id)) if id == again.id));

    journal.connection().execute("UPDATE intent SET state = 1", []).expect("tampered");
    let contents = journal.contents().await.expect("readable");
    assert_eq!((contents.unfinished.len(), contents.damaged), (0, vec![again.id]));
    let other = admit(&journal, slip(2)).slip;
    let swap = "UPDATE intent SET payload = (SELECT payload FROM intent WHERE id = ?1) WHERE id = ?2";
    journal.connection().execute(swap, [other.id.as_bytes(), again.id.as_bytes()]).expect("tampered");
    assert!(matches!(journal.document(&again).await, Err(JournalError::Damaged(_))));
}

fn lined(number: u128, bulk: u128, line: usize) -> Slip {
    Slip { line: Some(Line { bulk: Uuid::from_u128(bulk), number: line }), ..slip(number) }
}

#[tokio::test]
async fn a_file_of_many_is_at_its_end_with_its_last_line_and_goes_as_a_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = open(&dir.path().join("journal.db"), keyring(&dir.path().join("vault")));
    let bulk = Uuid::from_u128(100);
    let one = admit(&journal, lined(1, 100, 1));
    let two = admit(&journal, lined(2, 100, 4));
    admit(&journal, slip(3));
    assert!(journal.holds(bulk).expect("readable") && !journal.holds(Uuid::from_u128(99)).expect("readable"));
    let refusal = Refusal::new(Kind::Schema, "no");
    let two = journal.advance(two, Rejected { refusal, at: now() }).await.expect("committed");
    assert_eq!(journal.finish(two).await.expect("finished"), None);
    let one = journal.advance(one, Duplicate { of: bulk, authentication: None, at: now() }).await.expect("committed");
    assert_eq!(journal.finish(one).await.expect("finished"), Some(bulk));
    let lines = journal.lines(bulk).await.expect("readable");
    let ends: Vec<_> = lines.iter().map(|line| (line.slip.line.expect("a line").number, &line.end)).collect();
    assert!(matches!(ends[..], [(1, End::Duplicate(_)), (4, End::Rejected(_))]), "{ends:?}");
    journal.finish_lines(bulk).await.expect("finished");
    assert_eq!(journal.unfinished().expect("readable"), 1);
}

#[tokio::test]
async fn what_was_accepted_is_known_for_a_while_until_it_is_overtaken() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = open(&dir.path().join("journal.db"), keyring(&dir.path().join("vault")));
    let accept = async |number: u8, action, authentication: u128| {
        let slip = Slip { fingerprint: Some([number; 16]), action: Some(action), ..slip(number.into()) };
        let sent = journal.advance(admit(&journal, slip), sent()).await.expect("committed");
        let acked = Acked {
            authentication: AuthenticationId(Uuid::from_u128(authentication)),
            effect: Effect::Updated,
            settled_at: now(),
            sent: sent.state.clone(),
        };
        let acked = journal.advance(sent, acked).await.expect("committed");
        journal.finish(acked).await.expect("finished");
    };
    let hour = Duration::from_secs(60 * 60);
    let known = async || {
        let mut known = Vec::new();
        for number in 1..=6 {
            if journal.accepted_copy([number; 16], hour).await.expect("readable").is_some() {
                known.push(number);
            }
        }
        known
    };
    accept(1, Action::Create, 10).await;
    accept(2, Action::Update, 10).await;
    accept(3, Action::Update, 20).await;
    assert_eq!(known().await, [1, 2, 3]);
    accept(4, Action::Upsert, 10).await;
    assert_eq!(known().await, [1, 3, 4], "an update that was overtaken may be wanted again, a create not");
    accept(5, Action::Delete, 10).await;
    assert_eq!(known().await, [3, 5]);
    assert_eq!(journal.accepted_copy([3; 16], Duration::ZERO).await.expect("readable"), None);
    let changed = "UPDATE accepted SET authentication = zeroblob(16) WHERE authentication = ?1";
    journal.connection().execute(changed, [Uuid::from_u128(20).as_bytes()]).expect("tampered");
    assert_eq!(known().await, [5], "what was changed is not believed");
    journal.forget_accepted(Duration::ZERO).expect("forgotten");
    assert_eq!(known().await, Vec::<u8>::new());
}

#[test]
fn whether_a_file_of_many_is_at_its_end_is_looked_up_and_not_counted() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = open(&dir.path().join("journal.db"), keyring(&dir.path().join("vault")));
    let plan = format!("EXPLAIN QUERY PLAN {}", bulk::IS_OPEN);
    let connection = journal.connection();
    let mut plan = connection.prepare(&plan).expect("a plan");
    let steps = plan.query_map(params![[0_u8; 16], 7], |row| row.get::<_, String>(3)).expect("steps");
    let steps: Vec<_> = steps.map(|step| step.expect("a step")).collect();
    assert!(steps.iter().any(|step| step.ends_with("intent_by_bulk (bulk=? AND state<?)")), "{steps:?}");
}
