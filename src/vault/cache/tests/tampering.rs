//! What somebody with write access to the file can and can't do, through a connection of their own.

use super::*;

#[tokio::test]
async fn a_list_needs_no_row_but_those_it_returns_and_reports_the_damaged_ones() {
    let fixture = Fixture::with_two().await;
    fixture.tamper("UPDATE authentications SET metadata = x'00' WHERE key = 1");
    let of = |service: &str| {
        let filter = Filter { service: Some(service.into()), ..Filter::default() };
        let listing = fixture.cache.list(&filter).unwrap();
        (listing.records.len(), listing.damaged)
    };
    assert_eq!(of("slack"), (1, vec![]));
    assert_eq!(of("salesforce"), (0, vec![id(1)]));
    let all = fixture.cache.list(&Filter::default()).unwrap();
    assert_eq!((all.records.len(), all.damaged), (1, vec![id(1)]));
}

#[tokio::test]
async fn a_row_filed_under_another_owner_is_damaged_there() {
    let fixture = Fixture::with_two().await;
    fixture.cache.write(vec![listed(metadata(3, "bob", "slack"))]).await.unwrap();
    let bobs = "(SELECT owner FROM authentications WHERE key = 3)";
    fixture.tamper(&format!("UPDATE authentications SET owner = {bobs} WHERE key = 1"));
    let filter = Filter { owner_key: Some("tray-bob".into()), ..Filter::default() };
    let listing = fixture.cache.list(&filter).unwrap();
    assert_eq!((listing.records.len(), listing.damaged), (1, vec![id(1)]));
}

#[tokio::test]
async fn swapped_rows_open_nowhere() {
    for column in ["secret", "metadata"] {
        let fixture = Fixture::with_two().await;
        fixture.cache.write(vec![pulled(2, "canary-secret-two")]).await.unwrap();
        fixture.tamper(&format!(
            "UPDATE authentications SET {column} = other.{column} \
             FROM (SELECT key, {column} FROM authentications) AS other \
             WHERE other.key = 3 - authentications.key"
        ));
        assert_eq!(damaged(&fixture.cache.record(id(1)), 1), column == "metadata");
        for number in [1, 2] {
            if column == "metadata" {
                assert!(damaged(&fixture.cache.record(id(number)), number));
                continue;
            }
            assert_ne!(fixture.secret_or_none(number), Some("canary-secret-one".to_owned()), "{column} {number}");
            assert_ne!(fixture.secret_or_none(number), Some("canary-secret-two".to_owned()), "{column} {number}");
        }
    }
}

#[tokio::test]
async fn a_whole_row_under_another_id_opens_nowhere() {
    let fixture = Fixture::with_two().await;
    let two = hex(id(2));
    fixture.tamper("DELETE FROM authentications WHERE key = 2");
    fixture.tamper(&format!("UPDATE authentications SET key = 2, id = x'{two}' WHERE key = 1"));
    assert!(damaged(&fixture.cache.secret(id(2)), 2));
    assert!(damaged(&fixture.cache.record(id(2)), 2));
}

fn hex(id: AuthenticationId) -> String {
    id.0.simple().to_string()
}

#[tokio::test]
async fn swapped_columns_open_nowhere() {
    let fixture = Fixture::with_two().await;
    fixture.tamper("UPDATE authentications SET metadata = secret, secret = metadata WHERE key = 1");
    assert!(damaged(&fixture.cache.secret(id(1)), 1));
    assert!(damaged(&fixture.cache.record(id(1)), 1));
}

#[tokio::test]
async fn an_older_secret_is_refused_in_a_later_revision() {
    let fixture = Fixture::with_two().await;
    let db = Connection::open(fixture.path()).unwrap();
    let older: Vec<u8> =
        db.query_row("SELECT secret FROM authentications WHERE key = 1", [], |row| row.get(0)).unwrap();
    fixture.cache.write(vec![pulled(1, "newer")]).await.unwrap();
    assert_eq!(fixture.secret(1).unwrap(), "newer");
    db.execute("UPDATE authentications SET secret = ?1 WHERE key = 1", [older]).unwrap();
    fixture.look_anew();
    assert!(damaged(&fixture.cache.secret(id(1)), 1));
}

#[tokio::test]
async fn a_secret_with_other_times_than_it_was_pulled_with_is_refused() {
    for change in [
        "fetched_at = fetched_at + 1",
        "expires_at = expires_at + 1",
        "expires_at = NULL",
        "revision = 2",
        "fetched_at = NULL",
        "fetched_at = 9223372036854775807",
    ] {
        let fixture = Fixture::with_two().await;
        fixture.tamper(&format!("UPDATE authentications SET {change} WHERE key = 1"));
        assert!(damaged(&fixture.cache.secret(id(1)), 1), "{change}");
    }
}

#[tokio::test]
async fn two_ids_with_one_key_are_an_error_and_not_a_mix_up() {
    let fixture = Fixture::with_two().await;
    // The halves 0 and 1, and their twin 1 and 0.
    let twin = 1_u128 << 64;
    assert_eq!(schema::row_key(id(twin)), schema::row_key(id(1)));
    let collides = |error| matches!(error, CacheError::Collision { id: found } if found == id(twin));
    assert!(collides(fixture.cache.record(id(twin)).unwrap_err()));
    let write = fixture.cache.write(vec![listed(metadata(twin, "bob", "slack"))]).await;
    assert!(collides(write.unwrap_err()));
    fixture.cache.write(vec![gone(twin)]).await.unwrap();
    assert_eq!(fixture.secret(1).unwrap(), "canary-secret-one");
}

#[tokio::test]
async fn a_token_is_its_users_and_its_times_only() {
    let fixture = Fixture::new();
    let token = |name: &str| Write::UserToken {
        user: user(name).id,
        token: SecretString::new(format!("token of {name}")),
        expires_at: at(172_800),
    };
    let unknown = fixture.cache.write(vec![token("alice")]).await;
    assert!(matches!(unknown, Err(CacheError::UnknownUser)));
    let batch = vec![Write::User(user("alice")), Write::User(user("bob")), token("alice"), token("bob")];
    fixture.cache.write(batch).await.unwrap();

    fixture.tamper("UPDATE users SET token_expires_at = token_expires_at + 1");
    let refused = fixture.cache.user_token(&user("alice").id);
    assert!(matches!(refused, Err(CacheError::DamagedUser { .. })));
    fixture.tamper("UPDATE users SET token_expires_at = token_expires_at - 1");
    assert!(fixture.cache.user_token(&user("alice").id).is_ok());
    fixture.tamper(
        "UPDATE users SET token = other.token FROM (SELECT id, token FROM users) AS other \
         WHERE other.id <> users.id",
    );
    let refused = fixture.cache.user_token(&user("alice").id);
    assert!(matches!(refused, Err(CacheError::DamagedUser { .. })));
}

#[tokio::test]
async fn a_damaged_user_does_not_hide_the_others() {
    let fixture = Fixture::new();
    let batch = vec![Write::User(user("alice")), Write::User(user("bob"))];
    fixture.cache.write(batch).await.unwrap();
    fixture.tamper("UPDATE users SET profile = x'00' WHERE rowid = 1");
    assert_eq!(fixture.cache.users().unwrap(), [user("bob")]);
    let refused = fixture.cache.user(&user("alice").id);
    assert!(matches!(refused, Err(CacheError::DamagedUser { .. })));
}

#[tokio::test]
async fn nothing_that_names_or_opens_anything_is_in_the_files() {
    let fixture = Fixture::with_two().await;
    let token = Write::UserToken {
        user: user("alice").id,
        token: SecretString::new("canary-token".into()),
        expires_at: at(172_800),
    };
    fixture.cache.write(vec![Write::User(user("alice")), token]).await.unwrap();
    let bytes = fixture.bytes_on_disk();
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(holds(id(1).as_bytes()), "ids are in the clear, so this looks in the right place");
    for canary in ["canary", "alice", "salesforce", "slack", "Production", "env-1", "read"] {
        assert!(!holds(canary.as_bytes()), "{canary}");
    }
}

#[tokio::test]
async fn every_file_of_the_cache_is_private() {
    let fixture = Fixture::with_two().await;
    for name in ["cache.db", "cache.db-wal", "cache.db-shm"] {
        let mode = fs::metadata(fixture.dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn the_cache_of_another_vault_or_of_a_later_program_is_refused() {
    let Fixture { dir, cache } = Fixture::with_two().await;
    drop(cache);
    let path = dir.path().join("cache.db");
    let other = tempfile::tempdir().unwrap();
    let key = crate::crypto::random_key().unwrap();
    let slots = [crate::vault::NewSlot::Raw { key: &key }];
    let unlocked = crate::vault::create(other.path(), &slots).unwrap();
    let refused = open_with(&dir, unlocked.into_keyring());
    assert!(matches!(refused, Err(CacheError::ForeignVault)));

    Connection::open(&path).unwrap().pragma_update(None, "user_version", 1000).unwrap();
    let refused = reopen(&dir);
    let Err(CacheError::Database(DatabaseError::Newer { found: 1000, .. })) = refused else {
        panic!("refused as newer");
    };
}
