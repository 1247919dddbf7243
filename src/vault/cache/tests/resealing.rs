//! Re-sealing in a new epoch, step by step.

use super::*;

/// More than two steps.
const COUNT: u128 = 600;

async fn filled() -> TempDir {
    let Fixture { dir, cache } = Fixture::new();
    let batch = (1..=COUNT).flat_map(|number| {
        [listed(metadata(number, "alice", "slack")), pulled(number, &format!("canary-secret-{number}"))]
    });
    let token = SecretString::new("canary-token".into());
    let token = Write::UserToken { user: user("alice").id, token, expires_at: at(172_800) };
    cache.write(batch.chain([Write::User(user("alice")), token, gone(3)]).collect()).await.unwrap();
    dir
}

/// Walks to the end; how many rows were changed.
async fn walk(cache: &Cache, mut from: Walk) -> (u64, u64) {
    let (mut seen, mut changed) = (0, 0);
    while from != Walk::Through {
        let step = cache.reseal(from).await.unwrap();
        (from, seen, changed) = (step.next, seen + step.seen, changed + step.changed);
    }
    (seen, changed)
}

/// Asks, with the new epoch's key alone, for everything.
fn assert_all_there(cache: &Cache, but: &[u128]) {
    for number in (1..=COUNT).filter(|number| *number != 3 && !but.contains(number)) {
        let secret = cache.secret(id(number)).unwrap().unwrap();
        assert_eq!(secret.body.expose_secret(), format!("canary-secret-{number}").as_bytes());
        assert_eq!(secret.revision, 1);
        assert_eq!(cache.record(id(number)).unwrap().unwrap().metadata, metadata(number, "alice", "slack"));
    }
    assert_eq!(cache.record(id(3)).unwrap().unwrap().state, State::Gone);
    assert_eq!(cache.user(&user("alice").id).unwrap(), Some(user("alice")));
    assert_eq!(cache.user_token(&user("alice").id).unwrap().unwrap().0.expose_secret(), "canary-token");
}

#[tokio::test]
async fn a_walk_reseals_everything_and_a_second_one_nothing() {
    let dir = filled().await;
    let both = open_with(&dir, Arc::new(keyring(&[1, 2]))).unwrap();
    assert_eq!(walk(&both, Walk::default()).await, (601, 601));
    assert_eq!(walk(&both, Walk::default()).await, (601, 0));
    drop(both);
    assert_all_there(&open_with(&dir, Arc::new(keyring(&[2]))).unwrap(), &[]);
}

#[tokio::test]
async fn a_walk_that_was_cut_off_is_begun_again_and_what_was_written_meanwhile_stays() {
    let dir = filled().await;
    let cut_off = open_with(&dir, Arc::new(keyring(&[1, 2]))).unwrap();
    let step = cut_off.reseal(Walk::default()).await.unwrap();
    assert!((1..600).contains(&step.changed) && step.next != Walk::Through);
    drop(cut_off);

    let both = open_with(&dir, Arc::new(keyring(&[1, 2]))).unwrap();
    both.write(vec![pulled(599, "newer")]).await.unwrap();
    let (seen, changed) = walk(&both, Walk::default()).await;
    // The metadata of the one that was pulled anew were still to do.
    assert_eq!((seen, changed), (601, 601 - step.changed));
    drop(both);
    let cache = open_with(&dir, Arc::new(keyring(&[2]))).unwrap();
    assert_eq!(cache.secret(id(599)).unwrap().unwrap().body.expose_secret(), b"newer");
    assert_all_there(&cache, &[599]);
}

#[tokio::test]
async fn what_is_damaged_is_quarantined_and_stops_no_other() {
    let dir = filled().await;
    let db = Connection::open(dir.path().join("cache.db")).unwrap();
    db.execute("UPDATE authentications SET secret = zeroblob(99) WHERE key = 10", []).unwrap();
    db.execute("UPDATE authentications SET metadata = x'' WHERE key = 400", []).unwrap();
    // An id that is not the key's: which one it was nobody can tell.
    db.execute("UPDATE authentications SET id = zeroblob(16) WHERE key = 500", []).unwrap();
    drop(db);
    let both = open_with(&dir, Arc::new(keyring(&[1, 2]))).unwrap();
    assert_eq!(walk(&both, Walk::default()).await, (601, 601));
    assert_eq!(both.counts().unwrap().damaged, 2);
    let schedule = both.schedule(&owner("alice")).unwrap();
    assert_eq!(schedule.iter().filter(|held| held.state == State::Damaged).count(), 2);
    assert!(schedule.iter().all(|held| held.id != id(500)));
    drop(both);
    assert_all_there(&open_with(&dir, Arc::new(keyring(&[2]))).unwrap(), &[10, 400, 500]);
}

#[tokio::test]
async fn locked_nothing_is_written_or_read_and_what_needs_no_keys_is_counted() {
    let dir = filled().await;
    let keyring = Arc::new(keyring(&[1]));
    let cache = open_with(&dir, Arc::clone(&keyring)).unwrap();
    keyring.lock().unwrap();
    assert!(cache.write(vec![gone(1)]).await.unwrap_err().is_locked());
    assert!(cache.reseal(Walk::default()).await.unwrap_err().is_locked());
    assert!(cache.secret(id(1)).is_err_and(|error| error.is_locked()));
    assert!(cache.list(&Filter::default()).unwrap_err().is_locked());
    assert_eq!((cache.counts().unwrap().full, cache.write_failure()), (599, None));
    assert_eq!(cache.counts().unwrap().damaged, 0, "locked is not damaged");
}
