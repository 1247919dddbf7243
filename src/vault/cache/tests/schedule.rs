//! What a plan asks for, and the changes that concern many at once.

use super::*;

fn expiring(fixture: &Fixture, before: i64) -> Vec<AuthenticationId> {
    fixture.cache.expiring(at(before)).unwrap().into_iter().map(|one| one.id).collect()
}

fn pulled_until(number: u128, expires_at: Option<i64>) -> Write {
    let body = SecretBytes::new(b"{}".to_vec());
    let expires_at = expires_at.map(at);
    Write::Pulled { id: id(number), asked_in: u64::MAX, body, fetched_at: at(2_000), expires_at }
}

#[tokio::test]
async fn a_schedule_is_made_of_plain_columns() {
    let fixture = Fixture::with_two().await;
    fixture.cache.write(vec![listed(metadata(3, "bob", "slack"))]).await.unwrap();
    fixture.tamper("UPDATE authentications SET metadata = x'00'");
    let mut schedule = fixture.cache.schedule(&owner("alice")).unwrap();
    schedule.sort_by_key(|scheduled| scheduled.id);
    let mark = |number, service| fixture.cache.metadata_fingerprint(&metadata(number, "alice", service)).unwrap();
    let expected = [
        Scheduled {
            id: id(1),
            metadata: mark(1, "salesforce"),
            state: State::Full,
            gone: None,
            fetched_at: Some(at(2_000)),
            expires_at: Some(at(9_000)),
        },
        Scheduled {
            id: id(2),
            metadata: mark(2, "slack"),
            state: State::Pending,
            gone: None,
            fetched_at: None,
            expires_at: None,
        },
    ];
    assert_eq!(schedule, expected);
    assert_ne!(mark(1, "salesforce"), mark(1, "slack"));
}

#[tokio::test]
async fn what_expires_is_found_by_its_index_the_first_in_front() {
    let fixture = Fixture::new();
    let mut batch: Vec<_> = (1..=5).map(|number| listed(metadata(number, "alice", "slack"))).collect();
    batch.extend(
        [(1, Some(30)), (2, None), (3, Some(10)), (4, Some(20)), (5, Some(15))]
            .map(|(number, expires)| pulled_until(number, expires)),
    );
    batch.extend([gone(4), Write::Mark { id: id(5), state: State::NotEnabled }]);
    fixture.cache.write(batch).await.unwrap();
    assert_eq!(expiring(&fixture, 30), [id(3)]);
    assert_eq!(expiring(&fixture, 31), [id(3), id(1)]);
    assert_eq!(expiring(&fixture, 10), []);

    let database = Connection::open(fixture.dir.path().join("cache.db")).unwrap();
    let explain = format!("EXPLAIN QUERY PLAN {}", records::EXPIRING);
    let explained: String = database.query_row(&explain, (1, 3), |row| row.get(3)).unwrap();
    assert!(explained.contains("by_expiry"), "{explained}");
}

#[tokio::test]
async fn a_refused_principal_has_nothing_that_is_answered_and_others_keep_theirs() {
    let fixture = Fixture::new();
    let of_alice = (1..=4).map(|number| listed(metadata(number, "alice", "slack")));
    let mut batch: Vec<_> = of_alice.chain([listed(metadata(5, "bob", "slack"))]).collect();
    batch.extend([pulled(1, "one"), pulled(5, "five"), Write::Mark { id: id(3), state: State::NotPermitted }, gone(4)]);
    fixture.cache.write(batch).await.unwrap();
    fixture.cache.write(vec![Write::Refuse(owner("alice"))]).await.unwrap();
    let states: Vec<_> = (1..=5).map(|number| fixture.record(number).state).collect();
    assert_eq!(states, [State::Refused, State::Refused, State::NotPermitted, State::Gone, State::Full]);
    assert_eq!(fixture.secret(1).unwrap(), "one", "it stays sealed");
    assert_eq!(fixture.cache.counts().unwrap().refused, 2);
    fixture.cache.write(vec![pulled(1, "one again")]).await.unwrap();
    assert_eq!(fixture.record(1).state, State::Full);
}

#[tokio::test]
async fn a_pull_that_a_refusal_has_overtaken_brings_nothing_back() {
    let fixture = Fixture::with_two().await;
    let asked_in = fixture.cache.generation().unwrap();
    fixture.cache.write(vec![Write::Refuse(fixture.record(1).metadata.owner)]).await.unwrap();
    let body = SecretBytes::new(b"late".to_vec());
    let late = Write::Pulled { id: id(1), asked_in, body, fetched_at: at(4_000), expires_at: None };
    fixture.cache.write(vec![late]).await.unwrap();
    assert_eq!(fixture.record(1).state, State::Refused);
}

#[tokio::test]
async fn tombstones_are_kept_for_a_time() {
    let fixture = Fixture::with_two().await;
    fixture.cache.write(vec![gone(1)]).await.unwrap();
    let scheduled = fixture.cache.schedule(&fixture.record(1).metadata.owner).unwrap();
    let tombstone = scheduled.iter().find(|one| one.id == id(1)).unwrap();
    assert_eq!(tombstone.gone, Some((at(3_000), GoneReason::DeletedUpstream)));
    fixture.cache.write(vec![Write::ForgetGone { before: at(3_000) }]).await.unwrap();
    assert_eq!(fixture.record(1).state, State::Gone);
    fixture.cache.write(vec![Write::ForgetGone { before: at(3_001) }]).await.unwrap();
    assert!(fixture.cache.record(id(1)).unwrap().is_none());
    assert!(fixture.cache.record(id(2)).unwrap().is_some());
}

#[tokio::test]
async fn what_was_refused_does_not_become_answerable_by_being_due() {
    for refused in [State::Refused, State::NotEnabled] {
        let fixture = Fixture::with_two().await;
        let marks = [refused, State::Pending].map(|state| Write::Mark { id: id(1), state });
        fixture.cache.write(marks.into()).await.unwrap();
        assert_eq!(fixture.record(1).state, refused);
    }
}

#[tokio::test]
async fn scopes_that_become_known_bring_no_tombstone_back() {
    let fixture = Fixture::with_two().await;
    let scoped = |number| Metadata { scopes: Some(vec!["read".into()]), ..metadata(number, "alice", "slack") };
    fixture.cache.write(vec![gone(1), Write::Scoped { metadata: scoped(1), at: at(5_000) }]).await.unwrap();
    assert_eq!(fixture.record(1).state, State::Gone);
    fixture.cache.write(vec![Write::Scoped { metadata: scoped(2), at: at(5_000) }]).await.unwrap();
    assert_eq!(fixture.record(2).metadata.scopes.as_deref(), Some(&["read".to_owned()][..]));
    fixture.cache.write(vec![Write::Scoped { metadata: scoped(9), at: at(5_000) }]).await.unwrap();
    assert!(fixture.cache.record(id(9)).unwrap().is_none());
}

#[tokio::test]
async fn ages_and_expiries_are_counted_of_what_is_held_in_full() {
    let fixture = Fixture::new();
    let (hour, now) = (3_600, 10_000);
    let expiries =
        [None, Some(now), Some(now + 1), Some(now + hour), Some(now + hour + 1), Some(now + 25 * hour), Some(1)];
    let mut batch: Vec<_> = (1..=7).map(|number| listed(metadata(number, "alice", "slack"))).collect();
    batch.extend((1..).zip(expiries).map(|(number, expires)| pulled_until(number, expires)));
    batch.push(Write::Mark { id: id(7), state: State::NotEnabled });
    fixture.cache.write(batch).await.unwrap();
    let expected = Ages {
        oldest_fetched_at: Some(at(2_000)),
        next_expiry_at: Some(at(now + 1)),
        expired: 1,
        expiring_within_hour: 2,
        expiring_within_day: 3,
    };
    assert_eq!(fixture.cache.ages(at(now)).unwrap(), expected);
    let later = fixture.cache.ages(at(now + hour + 1)).unwrap();
    assert_eq!((later.next_expiry_at, later.expired, later.expiring_within_day), (Some(at(now + 25 * hour)), 4, 1));
    let earlier = fixture.cache.ages(at(now - 24 * hour)).unwrap();
    assert_eq!((earlier.next_expiry_at, earlier.expiring_within_day), (Some(at(now)), 1));
    assert_eq!(fixture.cache.ages(at(now - 25 * hour)).unwrap().next_expiry_at, Some(at(now)), "beyond a day too");
    assert_eq!(Fixture::new().cache.ages(at(now)).unwrap(), Ages::default());
}

#[tokio::test]
async fn status_looks_at_no_record_but_at_indices_alone() {
    let fixture = Fixture::new();
    let database = Connection::open(fixture.dir.path().join("cache.db")).unwrap();
    for query in [records::COUNTS, records::AGES, records::NEXT_EXPIRY] {
        let mut plan = database.prepare(&format!("EXPLAIN QUERY PLAN {query}")).unwrap();
        let steps = plan.raw_query();
        let steps: Vec<String> = steps.mapped(|row| row.get(3)).map(Result::unwrap).collect();
        let on_records = steps.iter().filter(|step| step.contains("authentications"));
        assert!(on_records.clone().count() > 0, "{steps:?}");
        assert!(on_records.clone().all(|step| step.contains("COVERING INDEX")), "{steps:?}");
    }
}
