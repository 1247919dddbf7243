//! Determinism, secrets, starting and stopping.

use std::collections::HashSet;

use super::*;
use crate::emulator::{SECRET_MARK, StartError};

async fn seeded(seed: u64) -> (Emulator, Value) {
    let emulator = Emulator::start(Config { seed, ..Config::default() }).await.unwrap();
    let world = emulator.world();
    let ids: Vec<Value> =
        world.authentications().iter().map(|it| json!([it.id, it.owner, it.name, it.service_environment_id])).collect();
    let shown = json!([ids, world.users(), world.environments(), world.secrets(), emulator.tokens()]);
    (emulator, shown)
}

#[tokio::test]
async fn the_same_seed_gives_the_same_world_and_another_another() {
    let ((first, one), (_second, two), (_third, other)) = (seeded(7).await, seeded(7).await, seeded(8).await);
    assert_eq!(one, two);
    assert_ne!(one, other);
    let (_fourth, default) = seeded(1).await;
    assert_ne!(one, default);
    assert_eq!(first.world().users()[0].external_user_id, "acme-1");
    assert_eq!(first.world().state().authentications, 3 * 2 + 2);
}

#[tokio::test]
async fn every_seeded_secret_is_unique_marked_and_known() {
    let config = Config { authentications_per_user: 7, workspace_authentications: 7, limit: None, ..Config::default() };
    let tray = Tray::with(config).await;
    let secrets = tray.world().secrets();
    assert!(secrets.iter().all(|secret| secret.starts_with(SECRET_MARK)));
    assert_eq!(secrets.iter().collect::<HashSet<_>>().len(), secrets.len());
    assert!(secrets.contains(&tray.master()));
    assert!(secrets.contains(&tray.user_token("acme-1")) || tray.world().secrets().len() > secrets.len());
    for found in tray.world().authentications() {
        let credentials = found.credentials.to_string();
        let of_it = secrets.iter().filter(|secret| credentials.contains(secret.as_str())).count();
        assert_eq!(of_it, credentials.matches(SECRET_MARK).count());
        assert!(of_it > 0, "{}", found.service);
    }
}

#[tokio::test]
async fn only_loopback_is_listened_on() {
    let started = Emulator::start(Config { listen: "0.0.0.0:0".parse().unwrap(), ..Config::default() }).await;
    assert!(matches!(started, Err(StartError::NotLoopback(_))));
    let (taken, _) = seeded(1).await;
    let again = Emulator::start(Config { listen: taken.address(), ..Config::default() }).await;
    assert!(matches!(again, Err(StartError::Listen { .. })));
}

#[tokio::test]
async fn a_stopped_emulator_answers_no_more() {
    let tray = Tray::start().await;
    let (client, url) = (tray.client.clone(), format!("{}/core/v1/workspaces", tray.emulator.api_url()));
    assert!(client.get(&url).send().await.is_ok());
    tray.emulator.stop().await;
    assert!(client.get(&url).send().await.is_err());
}
