//! The view as text, in each state that an operator meets, and what keys do.

use std::time::Duration;

use jiff::Timestamp;
use ratatui::{Terminal, backend::TestBackend};
use serde_json::{Value, json};

use super::{
    super::{Code, Failure},
    state::{Do, Key, News, Refusals, State},
    view,
};

/// 2026-11-24 12:00:00 UTC.
fn now() -> Timestamp {
    "2026-11-24T12:00:00Z".parse().expect("a time")
}

fn at(seconds: i64) -> Value {
    json!(now() + Duration::from_secs(1_000_000) - Duration::from_secs((1_000_000 - seconds).unsigned_abs()))
}

fn host(circuit: &str, retry: Option<u64>, failures: u32) -> Value {
    json!({ "host": "api.tray.io", "circuit": circuit, "retry_in_seconds": retry, "failures": failures })
}

fn healthy() -> Value {
    json!({
        "version": "0.1.0", "vault": "unlocked", "epoch": 3,
        "authentications": {
            "full": 98_765, "pending": 12, "not_permitted": 345, "not_enabled": 0, "gone": 21, "damaged": 0,
            "refused": 1, "users": 20_000,
        },
        "ages": {
            "oldest_fetched_at": at(-3_300), "next_expiry_at": at(720), "expired": 0, "expiring_within_hour": 120,
            "expiring_within_day": 9_876,
        },
        "refusals": 0,
        "started_at": at(-40_000),
        "landlock": "whole",
        "tray": {
            "offline": false,
            "hosts": [host("closed", None, 0)],
            "budget": {
                "tokens": 15, "capacity": 20, "waiting": 3, "paused_for_seconds": null, "limit_errors": 2,
                "waiting_by": { "refresh": 0, "ingest": 1, "expiry": 0, "discovery": 2 },
            },
            "requests": { "refresh": 10, "ingest": 20, "expiry": 30, "discovery": 1_200 },
            "answers": {
                "success": 1_250, "unanswered": 4, "over_limit": 2, "token_rejected": 0, "not_permitted": 0,
                "not_found": 0, "bad_input": 0, "failed": 1,
            },
        },
        "sync": {
            "running": false, "progress": null, "next_at": at(150), "cycles": 130,
            "last": {
                "started_at": at(-190), "ended_at": at(-150), "principals": 20_001, "listed": 99_144, "pulled": 42,
                "not_permitted": 345, "gone": 1, "held_back": 0, "not_enabled": 0, "failed": 0, "requests": 900,
                "problems": [],
            },
            "pulls": {
                "sealed": 123_456, "overtaken": 0, "current": 0, "not_permitted": 0, "gone": 0, "refused": 0,
                "not_enabled": 0, "failed": 7,
            },
        },
        "ingest": { "pending": 4, "held": 0, "accepted": 1_234, "rejected": 5, "problems": [] },
        "resealing": null,
        "problems": [],
    })
}

fn changed(changes: &[(&str, Value)]) -> Value {
    let mut status = healthy();
    for (pointer, value) in changes {
        *status.pointer_mut(pointer).expect("a member") = value.clone();
    }
    status
}

fn fresh() -> State {
    State::new(Duration::from_secs(1), true)
}

fn of(status: Value) -> State {
    let mut state = fresh();
    state.hear(News::Status(Ok(Box::new(serde_json::from_value(status).expect("a status")))), now());
    state
}

fn with_refusals(mut state: State, count: u32) -> State {
    let one = |number: u32| {
        json!({
            "time": at(-i64::from(number) * 40 - 5),
            "action": if number.is_multiple_of(2) { "authentication.read" } else { "sync.request" },
            "uid": 1_000 + number, "unit": (number != 1).then_some("billing.service"),
            "authentication": number.is_multiple_of(2).then_some("01980000-0000-7000-8000-000000000001"),
            "reason": if number == 2 { "workflow_guard" } else { "no_rule" },
            "request_id": "01980000-0000-4000-8000-000000000002",
        })
    };
    let refusals = (0..count).map(one).map(|one| serde_json::from_value(one).expect("a refusal")).collect();
    state.hear(News::Refusals(Ok(refusals)), now());
    state
}

fn screen(state: &State, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal.draw(|frame| view::draw(state, now(), frame)).expect("a frame");
    let buffer = terminal.backend().buffer();
    let lines = (0..height).map(|y| {
        let line: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
        line.trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn no_daemon() -> Failure {
    Failure::new(Code::Unavailable, "no daemon answers on /run/trayvault/api.sock: Connection refused (os error 111)")
        .hint("start it with: trayvault run".to_owned())
}

fn tray_is_down() -> State {
    of(changed(&[
        ("/tray/hosts", json!([host("open", Some(17), 6)])),
        ("/sync/last/failed", json!(2)),
        (
            "/sync/last/problems",
            json!([
                { "what": "Tray has not been answering: it is asked again shortly", "hint": null },
                { "what": "the list of end users can't be read: Tray did not answer in time",
                  "hint": "is the network of this host in order? curl -sS https://api.tray.io/ says; what is held is answered meanwhile" },
            ]),
        ),
    ]))
}

#[test]
fn a_healthy_daemon_at_80_by_24() {
    insta::assert_snapshot!(screen(&with_refusals(of(healthy()), 0), 80, 24), @"
     trayvault 0.1.0   up 11h   vault unlocked, epoch 3                12:00:00 UTC
    ┌ Tray ────────────────────────────────┐┌ Synchronisation ─────────────────────┐
    │answers: api.tray.io                  ││next one in 3m                        │
    │budget   █████████████████░░░░░░ 15/20││pulled   123456               failed 7│
    │requests 1260                3 waiting││last one 3m ago, took 40s             │
    │failed   5            over the limit 2││99144 listed, 42 pulled, 1 gone       │
    └──────────────────────────────────────┘└──────────────────────────────────────┘
    ┌ Authentications ─────────────────────┐┌ Ages ────────────┐┌ Drop directory ──┐
    │full        98765   not permitted  345││oldest         55m││pending          4│
    │pending        12   not enabled      0││next expiry in 12m││held             0│
    │gone           21   refused          1││in 1h/1d  120/9876││accepted      1234│
    │end users   20000   damaged          0││expired          0││rejected         5│
    └──────────────────────────────────────┘└──────────────────┘└──────────────────┘
    ┏ Problems ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┓
    ┃none                                                                          ┃
    ┗━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┛
    ┌ Last refusals ───────────────────────────────────────────────────────────────┐
    │none since the start                                                          │
    │                                                                              │
    │                                                                              │
    │                                                                              │
    │                                                                              │
    └──────────────────────────────────────────────────────────────────────────────┘
     q quit  p pause  s synchronise  Tab, arrows: scroll  ? help
    ");
}

#[test]
fn a_healthy_daemon_at_120_by_40() {
    insta::assert_snapshot!(screen(&with_refusals(of(healthy()), 12), 120, 40), @"
     trayvault 0.1.0   up 11h   vault unlocked, epoch 3                                                        12:00:00 UTC
    ┌ Tray ────────────────────────────────────────────────────┐┌ Synchronisation ─────────────────────────────────────────┐
    │answers: api.tray.io                                      ││next one in 3m                                            │
    │budget   ████████████████████████████████░░░░░░░░░░░ 15/20││pulled   123456                                   failed 7│
    │requests 1260                                    3 waiting││last one 3m ago, took 40s                                 │
    │failed   5                                over the limit 2││99144 listed, 42 pulled, 1 gone                           │
    └──────────────────────────────────────────────────────────┘└──────────────────────────────────────────────────────────┘
    ┌ Authentications ─────────────────────────────────────────┐┌ Ages ──────────────────────┐┌ Drop directory ────────────┐
    │full                  98765   not permitted            345││oldest                   55m││pending                    4│
    │pending                  12   not enabled                0││next expiry           in 12m││held                       0│
    │gone                     21   refused                    1││in 1h/1d            120/9876││accepted                1234│
    │end users             20000   damaged                    0││expired                    0││rejected                   5│
    └──────────────────────────────────────────────────────────┘└────────────────────────────┘└────────────────────────────┘
    ┏ Problems ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┓
    ┃none                                                                                                                  ┃
    ┗━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┛
    ┌ Last refusals ───────────────────────────────────────────────────────────────────────────────────────────────────────┐
    │  5s ago  authentication.read     uid 1000    no rule         01980000-0000-7000-8000-000000000001  billing.service   │
    │ 45s ago  sync.request            uid 1001    no rule         -                                                       │
    │  1m ago  authentication.read     uid 1002    workflow guard  01980000-0000-7000-8000-000000000001  billing.service   │
    │  2m ago  sync.request            uid 1003    no rule         billing.service                                         │
    │  3m ago  authentication.read     uid 1004    no rule         01980000-0000-7000-8000-000000000001  billing.service   │
    │  3m ago  sync.request            uid 1005    no rule         billing.service                                         │
    │  4m ago  authentication.read     uid 1006    no rule         01980000-0000-7000-8000-000000000001  billing.service   │
    │  5m ago  sync.request            uid 1007    no rule         billing.service                                         │
    │  5m ago  authentication.read     uid 1008    no rule         01980000-0000-7000-8000-000000000001  billing.service   │
    │  6m ago  sync.request            uid 1009    no rule         billing.service                                         │
    │  7m ago  authentication.read     uid 1010    no rule         01980000-0000-7000-8000-000000000001  billing.service   │
    │  7m ago  sync.request            uid 1011    no rule         billing.service                                         │
    │                                                                                                                      │
    │                                                                                                                      │
    │                                                                                                                      │
    │                                                                                                                      │
    │                                                                                                                      │
    │                                                                                                                      │
    │                                                                                                                      │
    │                                                                                                                      │
    │                                                                                                                      │
    └──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────┘
     q quit  p pause  s synchronise  Tab, arrows: scroll  ? help
    ");
}

#[test]
fn a_daemon_that_synchronises() {
    let progress = json!({ "phase": "pulling", "done": 412, "total": 900, "since": at(-20) });
    let state = of(changed(&[("/sync/running", json!(true)), ("/sync/progress", progress)]));
    insta::assert_snapshot!(screen(&state, 80, 24), @"
     trayvault 0.1.0   up 11h   vault unlocked, epoch 3                12:00:00 UTC
    ┌ Tray ────────────────────────────────┐┌ Synchronisation ─────────────────────┐
    │answers: api.tray.io                  ││under way             20.6/s, 23s left│
    │budget   █████████████████░░░░░░ 15/20││pulling  █████████░░░░░░░░░░░░ 412/900│
    │requests 1260                3 waiting││last one 3m ago, took 40s             │
    │failed   5            over the limit 2││99144 listed, 42 pulled, 1 gone       │
    └──────────────────────────────────────┘└──────────────────────────────────────┘
    ┌ Authentications ─────────────────────┐┌ Ages ────────────┐┌ Drop directory ──┐
    │full        98765   not permitted  345││oldest         55m││pending          4│
    │pending        12   not enabled      0││next expiry in 12m││held             0│
    │gone           21   refused          1││in 1h/1d  120/9876││accepted      1234│
    │end users   20000   damaged          0││expired          0││rejected         5│
    └──────────────────────────────────────┘└──────────────────┘└──────────────────┘
    ┏ Problems ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┓
    ┃none                                                                          ┃
    ┗━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┛
    ┌ Last refusals ───────────────────────────────────────────────────────────────┐
    │-                                                                             │
    │                                                                              │
    │                                                                              │
    │                                                                              │
    │                                                                              │
    └──────────────────────────────────────────────────────────────────────────────┘
     q quit  p pause  s synchronise  Tab, arrows: scroll  ? help
    ");
}

#[test]
fn tray_that_does_not_answer() {
    insta::assert_snapshot!(screen(&tray_is_down(), 80, 24), @"
     trayvault 0.1.0   up 11h   vault unlocked, epoch 3                12:00:00 UTC
    ┌ Tray ────────────────────────────────┐┌ Synchronisation ─────────────────────┐
    │NO ANSWER, again in 17s: api.tray.io  ││next one in 3m                        │
    │budget   █████████████████░░░░░░ 15/20││pulled   123456               failed 7│
    │requests 1260                3 waiting││last one 3m ago, took 40s             │
    │failed   5            over the limit 2││2 FAILED, 99144 listed, 42 pulled, 1 g│
    └──────────────────────────────────────┘└──────────────────────────────────────┘
    ┌ Authentications ─────────────────────┐┌ Ages ────────────┐┌ Drop directory ──┐
    │full        98765   not permitted  345││oldest         55m││pending          4│
    │pending        12   not enabled      0││next expiry in 12m││held             0│
    │gone           21   refused          1││in 1h/1d  120/9876││accepted      1234│
    │end users   20000   damaged          0││expired          0││rejected         5│
    └──────────────────────────────────────┘└──────────────────┘└──────────────────┘
    ┏ Problems ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┓
    ┃! Tray has not been answering: it is asked again shortly                      ┃
    ┃! the list of end users can't be read: Tray did not answer in time            ┃
    ┃  hint: is the network of this host in order? curl -sS https://api.tray.io/   ┃
    ┃        says; what is held is answered meanwhile                              ┃
    ┗━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┛
    ┌ Last refusals ───────────────────────────────────────────────────────────────┐
    │-                                                                             │
    │                                                                              │
    └──────────────────────────────────────────────────────────────────────────────┘
     q quit  p pause  s synchronise  Tab, arrows: scroll  ? help
    ");
}

#[test]
fn a_vault_that_is_locked() {
    let problem = json!([{ "what": "the vault is locked", "hint": "trayvault unlock" }]);
    let mut state = of(changed(&[("/vault", json!("locked")), ("/epoch", Value::Null), ("/problems", problem)]));
    state.hear(News::Refusals(Err(Failure::new(Code::NoPermission, "not allowed"))), now());
    insta::assert_snapshot!(screen(&state, 80, 24), @r#"
     trayvault 0.1.0   up 11h   vault LOCKED                           12:00:00 UTC
    ┌ Tray ────────────────────────────────┐┌ Synchronisation ─────────────────────┐
    │answers: api.tray.io                  ││next one in 3m                        │
    │budget   █████████████████░░░░░░ 15/20││pulled   123456               failed 7│
    │requests 1260                3 waiting││last one 3m ago, took 40s             │
    │failed   5            over the limit 2││99144 listed, 42 pulled, 1 gone       │
    └──────────────────────────────────────┘└──────────────────────────────────────┘
    ┌ Authentications ─────────────────────┐┌ Ages ────────────┐┌ Drop directory ──┐
    │full        98765   not permitted  345││oldest         55m││pending          4│
    │pending        12   not enabled      0││next expiry in 12m││held             0│
    │gone           21   refused          1││in 1h/1d  120/9876││accepted      1234│
    │end users   20000   damaged          0││expired          0││rejected         5│
    └──────────────────────────────────────┘└──────────────────┘└──────────────────┘
    ┏ Problems ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┓
    ┃! the vault is locked                                                         ┃
    ┃  hint: trayvault unlock                                                      ┃
    ┗━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┛
    ┌ Last refusals ───────────────────────────────────────────────────────────────┐
    │not shown: they are for whoever is granted "manage" on everything             │
    │                                                                              │
    │                                                                              │
    │                                                                              │
    └──────────────────────────────────────────────────────────────────────────────┘
     q quit  p pause  s synchronise  Tab, arrows: scroll  ? help
    "#);
}

#[test]
fn no_daemon_from_the_start_and_one_that_went_away() {
    let mut state = fresh();
    state.hear(News::Status(Err(no_daemon())), now());
    insta::assert_snapshot!(screen(&state, 80, 24), @"
     trayvault                                                  NO ANSWER, none yet
    ┌ Tray ────────────────────────────────┐┌ Synchronisation ─────────────────────┐
    │-                                     ││-                                     │
    │                                      ││                                      │
    │                                      ││                                      │
    │                                      ││                                      │
    └──────────────────────────────────────┘└──────────────────────────────────────┘
    ┌ Authentications ─────────────────────┐┌ Ages ────────────┐┌ Drop directory ──┐
    │-                                     ││-                 ││-                 │
    │                                      ││                  ││                  │
    │                                      ││                  ││                  │
    │                                      ││                  ││                  │
    └──────────────────────────────────────┘└──────────────────┘└──────────────────┘
    ┏ Problems ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┓
    ┃! no daemon answers on /run/trayvault/api.sock: Connection refused (os error  ┃
    ┃  111)                                                                        ┃
    ┃  hint: start it with: trayvault run                                          ┃
    ┗━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┛
    ┌ Last refusals ───────────────────────────────────────────────────────────────┐
    │-                                                                             │
    │                                                                              │
    │                                                                              │
    └──────────────────────────────────────────────────────────────────────────────┘
     q quit  p pause  s synchronise  Tab, arrows: scroll  ? help
    ");
    let mut state = with_refusals(of(healthy()), 2);
    state.hear(News::Status(Err(no_daemon())), now());
    insta::assert_snapshot!(screen(&state, 80, 24), @"
     trayvault 0.1.0   up 11h   vault unlocked, epoch 3     NO ANSWER, as of 0s ago
    ┌ Tray ────────────────────────────────┐┌ Synchronisation ─────────────────────┐
    │answers: api.tray.io                  ││next one in 3m                        │
    │budget   █████████████████░░░░░░ 15/20││pulled   123456               failed 7│
    │requests 1260                3 waiting││last one 3m ago, took 40s             │
    │failed   5            over the limit 2││99144 listed, 42 pulled, 1 gone       │
    └──────────────────────────────────────┘└──────────────────────────────────────┘
    ┌ Authentications ─────────────────────┐┌ Ages ────────────┐┌ Drop directory ──┐
    │full        98765   not permitted  345││oldest         55m││pending          4│
    │pending        12   not enabled      0││next expiry in 12m││held             0│
    │gone           21   refused          1││in 1h/1d  120/9876││accepted      1234│
    │end users   20000   damaged          0││expired          0││rejected         5│
    └──────────────────────────────────────┘└──────────────────┘└──────────────────┘
    ┏ Problems ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┓
    ┃! no daemon answers on /run/trayvault/api.sock: Connection refused (os error  ┃
    ┃  111)                                                                        ┃
    ┃  hint: start it with: trayvault run                                          ┃
    ┗━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┛
    ┌ Last refusals ───────────────────────────────────────────────────────────────┐
    │  5s ago  authentication.read     uid 1000    no rule         billing.service │
    │ 45s ago  sync.request            uid 1001    no rule         -               │
    │                                                                              │
    └──────────────────────────────────────────────────────────────────────────────┘
     q quit  p pause  s synchronise  Tab, arrows: scroll  ? help
    ");
}

#[test]
fn refusals_scroll_and_the_rest_stays() {
    let mut state = with_refusals(tray_is_down(), 30);
    assert_eq!(state.press(Key::NextPanel, now()), Do::Nothing);
    for key in [Key::PageDown, Key::Down, Key::Up, Key::Down] {
        assert_eq!(state.press(key, now()), Do::Nothing);
    }
    insta::assert_snapshot!(screen(&state, 80, 24), @"
     trayvault 0.1.0   up 11h   vault unlocked, epoch 3                12:00:00 UTC
    ┌ Tray ────────────────────────────────┐┌ Synchronisation ─────────────────────┐
    │NO ANSWER, again in 17s: api.tray.io  ││next one in 3m                        │
    │budget   █████████████████░░░░░░ 15/20││pulled   123456               failed 7│
    │requests 1260                3 waiting││last one 3m ago, took 40s             │
    │failed   5            over the limit 2││2 FAILED, 99144 listed, 42 pulled, 1 g│
    └──────────────────────────────────────┘└──────────────────────────────────────┘
    ┌ Authentications ─────────────────────┐┌ Ages ────────────┐┌ Drop directory ──┐
    │full        98765   not permitted  345││oldest         55m││pending          4│
    │pending        12   not enabled      0││next expiry in 12m││held             0│
    │gone           21   refused          1││in 1h/1d  120/9876││accepted      1234│
    │end users   20000   damaged          0││expired          0││rejected         5│
    └──────────────────────────────────────┘└──────────────────┘└──────────────────┘
    ┌ Problems lines 1-3 of 4 ─────────────────────────────────────────────────────┐
    │! Tray has not been answering: it is asked again shortly                      │
    │! the list of end users can't be read: Tray did not answer in time            │
    │  hint: is the network of this host in order? curl -sS https://api.tray.io/   │
    └──────────────────────────────────────────────────────────────────────────────┘
    ┏ Last refusals lines 12-14 of 30 ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┓
    ┃  7m ago  sync.request            uid 1011    no rule         billing.service ┃
    ┃  8m ago  authentication.read     uid 1012    no rule         billing.service ┃
    ┃  9m ago  sync.request            uid 1013    no rule         billing.service ┃
    ┗━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┛
     q quit  p pause  s synchronise  Tab, arrows: scroll  ? help
    ");
    for _ in 0..100 {
        let _ = state.press(Key::PageDown, now());
    }
    assert!(screen(&state, 80, 24).contains("of 30 "), "it ends where the list ends");
}

#[test]
fn the_help_says_every_key() {
    let mut state = of(healthy());
    assert_eq!(state.press(Key::Help, now()), Do::Nothing);
    insta::assert_snapshot!(screen(&state, 80, 24), @r#"
     trayvault 0.1.0   up 11h   vault unlocked, epoch 3                12:00:00 UTC
    ┌ Tray ────────────────────────────────┐┌ Synchronisation ─────────────────────┐
    │answers: api.tray.io                  ││next one in 3m                        │
    │budget   █████████████████░░░░░░ 15/20││pulled   123456               failed 7│
    │requests 1260                3 waiting││last one 3m ago, took 40s             │
    │failed   5            over the limit 2││99144 listed, 42 pulled, 1 gone       │
    └────────╔ Keys ══════════════════════════════════════════════════════╗────────┘
    ┌ Authent║q, Esc, Ctrl-C   quit                                       ║ctory ──┐
    │full    ║p, space         pause: the daemon is not asked             ║       4│
    │pending ║s                synchronise now; takes the grant "sync"    ║       0│
    │gone    ║Tab              the other list, which has the thick border ║    1234│
    │end user║arrows, Page     scroll it; Home goes to its top            ║       5│
    └────────║?                close this                                 ║────────┘
    ┏ Problem║                                                            ║━━━━━━━━┓
    ┃none    ║The daemon is asked every 1s. Ages are since the fetch      ║        ┃
    ┗━━━━━━━━║from Tray; "in 1h/1d" is how many secrets expire by then.   ║━━━━━━━━┛
    ┌ Last re╚════════════════════════════════════════════════════════════╝────────┐
    │-                                                                             │
    │                                                                              │
    │                                                                              │
    │                                                                              │
    │                                                                              │
    └──────────────────────────────────────────────────────────────────────────────┘
     q quit  p pause  s synchronise  Tab, arrows: scroll  ? help
    "#);
    assert_eq!(state.press(Key::Quit, now()), Do::Nothing, "the first closes the help");
    assert_eq!(state.press(Key::Quit, now()), Do::Quit);
}

#[test]
fn keys_ask_for_what_they_say() {
    let mut state = of(healthy());
    assert_eq!(state.press(Key::Pause, now()), Do::Pause(true));
    assert!(screen(&state, 80, 24).contains("PAUSED"));
    assert_eq!(state.press(Key::Pause, now()), Do::Pause(false));
    assert_eq!(state.press(Key::Synchronise, now()), Do::Synchronise);
    state.hear(News::Synchronised(Err(Failure::new(Code::NoPermission, "not allowed"))), now());
    assert!(screen(&state, 80, 24).contains("not synchronised: not allowed"));
}

#[test]
fn the_rate_is_that_of_one_daemon() {
    let mut state = of(healthy());
    let later = |sent: u64, seconds: u64| {
        let status = changed(&[("/tray/requests/discovery", json!(sent))]);
        (
            News::Status(Ok(Box::new(serde_json::from_value(status).expect("a status")))),
            now() + Duration::from_secs(seconds),
        )
    };
    let (news, at) = later(1_230, 2);
    state.hear(news, at);
    assert_eq!(state.seen.as_ref().and_then(|seen| seen.rate), Some(15.0));
    let (news, at) = later(0, 3);
    state.hear(news, at);
    assert_eq!(state.seen.as_ref().and_then(|seen| seen.rate), None, "it counts from the start again");
}

#[test]
fn no_text_says_anything_to_the_terminal() {
    let nasty = "\u{1b}]0;x\u{7}\u{9b}31m\u{202e}\r\n";
    let problem = json!([{ "what": nasty, "hint": nasty }]);
    let mut hosts = host("closed", None, 0);
    hosts["host"] = json!(nasty);
    let mut state = of(changed(&[("/problems", problem), ("/tray/hosts", json!([hosts])), ("/version", json!(nasty))]));
    let refusal = json!({
        "time": at(0), "action": nasty, "uid": 0, "unit": nasty, "authentication": nasty, "reason": nasty,
        "request_id": nasty,
    });
    state.hear(News::Refusals(Ok(vec![serde_json::from_value(refusal).expect("a refusal")])), now());
    state.hear(News::Synchronised(Err(Failure::new(Code::Software, nasty))), now());
    for (width, height) in [(60, 20), (80, 24), (300, 80)] {
        let text = screen(&state, width, height);
        assert!(text.chars().all(|one| one == '\n' || !one.is_control()), "{text:?}");
        assert!(!text.contains('\u{202e}'));
    }
}

#[test]
fn colours_are_never_needed() {
    let (colourful, plain) = (tray_is_down(), State { colours: false, ..tray_is_down() });
    assert_eq!(screen(&colourful, 80, 24), screen(&plain, 80, 24));
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).expect("a terminal");
    terminal.draw(|frame| view::draw(&plain, now(), frame)).expect("a frame");
    let reset = ratatui::style::Color::Reset;
    let cells = terminal.backend().buffer().content.iter();
    assert!(cells.into_iter().all(|cell| cell.fg == reset && cell.bg == reset));
}

#[test]
fn any_size_is_survived() {
    let state = with_refusals(tray_is_down(), 30);
    for (width, height) in [(1, 1), (0, 0), (59, 24), (80, 19), (60, 20), (61, 21), (500, 200)] {
        screen(&state, width, height);
    }
    assert!(matches!(state.refusals, Refusals::Known(_)));
}
