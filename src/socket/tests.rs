//! The routes of dropped documents against a stand-in for ingest: who may ask what, what is recorded, what is answered.

mod hostile;

use std::{fs, sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::{Mutex, Notify, mpsc, watch};
use uuid::Uuid;

use super::{
    Api, Refusals,
    events::Endless,
    routes::{self, Routes, Session},
};
use crate::{
    audit::{self, AuditLog},
    config,
    crypto::random_key,
    custody::Custody,
    feed::Feed,
    freshness::Freshness,
    metrics::Metrics,
    policy::{self, Caller, Policy, Process},
    principals::{Principals, Tokens},
    requests::{
        Requests,
        ingest::{IngestRefusal, IngestRequest, IntentState, Order, Preview, Settled, SettledAs, Unfinished},
    },
    secret::SecretBytes,
    status::Board,
    stores,
    task::Tasks,
    tray::{self, Tray},
    vault::{self, NewSlot},
};

mod document;

const UID: u32 = 1000;
const ALL: &str = r#"
    [[access.rules]]
    name = "operator"
    users = ["1000"]
    grants = ["ingest", "read"]
"#;
const INTENT: Uuid = Uuid::from_u128(7);

fn caller() -> Arc<Caller> {
    let names = vec!["shell".to_owned()];
    let process = Process::Known { unit: None, units: Vec::new(), names, beside_guarded: false };
    Arc::new(Caller { uid: UID, gids: vec![UID], process })
}

struct Host {
    api: Arc<Api>,
    requests: mpsc::Receiver<IngestRequest>,
    directory: tempfile::TempDir,
}

impl Host {
    fn new(policy: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = random_key().unwrap();
        let unlocked = vault::create(directory.path(), &[NewSlot::Raw { key: &key }]).unwrap();
        let audit = AuditLog::create(directory.path(), unlocked.audit_key()).unwrap();
        let keyring = unlocked.into_keyring();
        let tray = Tray::new(&tray::Config { offline: true, ..tray::Config::default() }).unwrap();
        let board = Board::new(jiff::Timestamp::now(), {
            let tray = tray.clone();
            move || tray.standing()
        });
        let stores::Stores { cache, journal } =
            stores::open(directory.path(), &keyring, &audit, &board, false).unwrap();
        let principals = Principals::new(tray, cache.clone(), audit.clone(), Tokens::new(None, None));
        let policy: policy::Config = toml::from_str(policy).unwrap();
        let policy = Policy::new(&policy, |name| name.parse().ok(), |name| name.parse().ok(), UID).unwrap();
        let (ingest, requests) = mpsc::channel(1);
        let custody = Custody {
            state_directory: directory.path().to_owned(),
            unlock: config::Unlock::Prompt,
            tokens: config::Tokens::default(),
            keyring,
            principals,
            cache: cache.clone(),
            journal,
            audit: audit.clone(),
            board: board.clone(),
            turn: Mutex::default(),
            rotated: Notify::default(),
        };
        let api = Api {
            cache,
            custody: Arc::new(custody),
            audit,
            policy: watch::channel(Arc::new(policy)).1,
            board,
            requests: Requests { cycles: mpsc::channel(1).0, parts: mpsc::channel(1).0, ingest },
            freshness: watch::channel(Freshness { stale_after: Duration::ZERO, serve_stale_for: Duration::ZERO }).1,
            feed: Feed::default(),
            metrics: Metrics::default(),
            refusals: Refusals::default(),
            runtime: tokio::runtime::Handle::current(),
        };
        Self { api: Arc::new(api), requests, directory }
    }

    /// Sends a request, and answers what it asks of ingest.
    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: &'static str,
        ingest: impl FnOnce(IngestRequest),
    ) -> (StatusCode, String, Vec<u8>) {
        let routes = Routes::new(Arc::clone(&self.api));
        let request = Request::builder().method(method).uri(path).body(Body::from(body)).unwrap();
        let (shutdown, endless) = (Tasks::default().shutdown(), Endless::default());
        let session = Session { caller: caller(), shutdown: &shutdown, endless: &endless };
        let mut answer = std::pin::pin!(routes.answer(request, session));
        let answer = tokio::select! {
            answer = &mut answer => answer,
            asked = self.requests.recv() => {
                ingest(asked.unwrap());
                answer.await
            }
        };
        assert_eq!(answer.headers()["cache-control"], "no-store");
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        (answer.status(), kind, answer.into_body().collect().await.unwrap().to_bytes().to_vec())
    }

    async fn json(
        &mut self,
        method: Method,
        path: &str,
        body: &'static str,
        ingest: impl FnOnce(IngestRequest),
    ) -> (StatusCode, Value) {
        let (status, _, body) = self.ask(method, path, body, ingest).await;
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn refused(&mut self, method: Method, path: &str) -> (u16, String) {
        let (status, answer) = self.json(method, path, "", |_| panic!("ingest was asked")).await;
        (status.as_u16(), answer["code"].as_str().unwrap().to_owned())
    }

    /// What was recorded of dropped documents: action, outcome, and whether an intent and a reason are named.
    fn recorded(&self) -> Vec<String> {
        let log = fs::read_to_string(self.directory.path().join(audit::FILE_NAME)).unwrap();
        let entries = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let ours = entries.filter(|entry| entry["action"].as_str().is_some_and(|action| action.starts_with("ingest.")));
        ours.map(|entry| {
            let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
            let words = [text("action"), text("outcome"), text("rule"), text("intent"), text("reason")];
            words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
        })
        .collect()
    }
}

fn held() -> Unfinished {
    Unfinished {
        intent: INTENT,
        file: "acme.json".to_owned(),
        line: None,
        action: "create".to_owned(),
        state: IntentState::Held,
        received_at: None,
        sent_at: None,
        attempts: 1,
        owner: None,
        authentication_id: None,
        candidates: Vec::new(),
        problem: None,
    }
}

#[tokio::test]
async fn what_is_not_finished_is_shown_to_whom_policy_grants_it() {
    let mut host = Host::new(ALL);
    let listed = |request| match request {
        IngestRequest::List(answer) => drop(answer.send(Ok(vec![held()]))),
        _ => panic!("another request"),
    };
    let (status, list) = host.json(Method::GET, "/v1/ingest", "", listed).await;
    assert_eq!((status, &list["documents"][0]["state"]), (StatusCode::OK, &json!("held")));
    let shown = |request| match request {
        IngestRequest::Show(INTENT, answer) => drop(answer.send(Ok(held()))),
        _ => panic!("another request"),
    };
    let (status, one) = host.json(Method::GET, &format!("/v1/ingest/{INTENT}"), "", shown).await;
    assert_eq!((status, &one["file"]), (StatusCode::OK, &json!("acme.json")));
    assert_eq!(host.refused(Method::GET, "/v1/ingest/7").await, (400, "bad_request".to_owned()));
    let seen = format!("ingest.list done operator {INTENT}");
    assert_eq!(host.recorded(), ["ingest.list done operator", &seen]);
}

#[tokio::test]
async fn an_order_is_recorded_before_it_is_given_and_how_it_ended_before_the_answer() {
    let orders = [
        ("retry", "retry", Order::Retry, SettledAs::Queued),
        ("adopt?authentication=00000000-0000-0000-0000-000000000009", "adopt", Order::Adopt(id(9)), SettledAs::Adopted),
        ("discard", "discard", Order::Discard, SettledAs::Discarded),
    ];
    for (path, action, order, outcome) in orders {
        let mut host = Host::new(ALL);
        let log = host.directory.path().join(audit::FILE_NAME);
        let begun = format!("\"ingest.{action}\",\"outcome\":\"begun\"");
        let settled = |request| match request {
            IngestRequest::Settle(INTENT, given, answer) => {
                assert_eq!(given, order);
                assert!(fs::read_to_string(log).unwrap().contains(&begun));
                drop(answer.send(Ok(Settled { intent: INTENT, outcome })));
            }
            _ => panic!("another request"),
        };
        let (status, answer) = host.json(Method::POST, &format!("/v1/ingest/{INTENT}/{path}"), "", settled).await;
        assert_eq!((status, &answer["outcome"]), (StatusCode::OK, &json!(outcome)));
        let entry = |outcome: &str| format!("ingest.{action} {outcome} operator {INTENT}");
        assert_eq!(host.recorded(), [entry("begun"), entry("done")]);
    }
}

fn id(number: u128) -> crate::authentication::AuthenticationId {
    crate::authentication::AuthenticationId(Uuid::from_u128(number))
}

#[tokio::test]
async fn what_ingest_refuses_has_a_code_and_its_reason_is_recorded_in_words_of_this_program() {
    let refusals = [
        (IngestRefusal::Off, 404, "no_drop_directory", "there is no drop directory"),
        (IngestRefusal::NotFound, 404, "not_found", "there is no such document"),
        (IngestRefusal::Conflict("it is done"), 409, "conflict", "it is done"),
        (IngestRefusal::Bad("it is wrong"), 400, "bad_request", "it is wrong"),
        (IngestRefusal::Unavailable("x".to_owned()), 503, "unavailable", "something is in the way, here or in Tray"),
    ];
    for (refusal, status, code, reason) in refusals {
        let (mut host, message) = (Host::new(ALL), refusal.to_string());
        let refuses = |request| match request {
            IngestRequest::Settle(_, _, answer) => drop(answer.send(Err(refusal))),
            _ => panic!("another request"),
        };
        let (found, answer) = host.json(Method::POST, &format!("/v1/ingest/{INTENT}/retry"), "", refuses).await;
        assert_eq!((found.as_u16(), &answer["code"], &answer["message"]), (status, &json!(code), &json!(message)));
        assert_eq!(host.recorded()[1], format!("ingest.retry failed operator {INTENT} {reason}"));
    }
}

#[tokio::test]
async fn a_document_is_planned_as_it_was_sent() {
    let mut host = Host::new(ALL);
    let planned = |request| match request {
        IngestRequest::Plan(document, answer) => {
            assert_eq!(document.expose_secret(), b"a document");
            let (kind, reason) = ("format".to_owned(), "it is not JSON".to_owned());
            let rejected =
                Preview::Rejected { kind, reason, hint: None, pointer: None, line: Some(1), column: Some(1) };
            drop(answer.send(Ok(rejected)));
        }
        _ => panic!("another request"),
    };
    let (status, preview) = host.json(Method::POST, "/v1/ingest/plan", "a document", planned).await;
    assert_eq!((status, &preview["outcome"]), (StatusCode::OK, &json!("rejected")));
    let large = "x".repeat(64 * 1024 + 1).leak();
    let (status, answer) = host.json(Method::POST, "/v1/ingest/plan", large, |_| panic!("ingest was asked")).await;
    assert_eq!((status, &answer["code"]), (StatusCode::BAD_REQUEST, &json!("bad_request")));
    assert_eq!(host.recorded(), ["ingest.plan done operator"]);
}

#[tokio::test]
async fn a_rejected_document_is_opened_for_whoever_may_read_everything() {
    let mut host = Host::new(ALL);
    let opened = |request| match request {
        IngestRequest::Open(name, answer) => {
            assert_eq!(name, "a b.json");
            drop(answer.send(Ok(SecretBytes::new(b"content".to_vec()))));
        }
        _ => panic!("another request"),
    };
    let (status, kind, content) = host.ask(Method::GET, "/v1/ingest/rejected/a%20b.json", "", opened).await;
    assert_eq!((status, &kind[..], &content[..]), (StatusCode::OK, "application/octet-stream", &b"content"[..]));
    assert_eq!(host.recorded(), ["ingest.open done operator"]);
    for wrong in ["%2e%2e", ".", "a%2Fb", "a%00b", "%ff"] {
        let refused = host.refused(Method::GET, &format!("/v1/ingest/rejected/{wrong}")).await;
        assert_eq!(refused, (400, "bad_request".to_owned()), "{wrong}");
    }
    assert_eq!(host.refused(Method::GET, "/v1/ingest/rejected/").await.0, 404);
}

#[tokio::test]
async fn a_rejected_document_stays_closed_to_whom_the_guard_names_or_who_may_read_only_a_part() {
    let guard = format!("{ALL}[workflow_guard]\nusers = [\"1000\"]");
    let part = ALL.replace(r#""ingest", "read"]"#, r#""ingest"]"#)
        + "[[access.rules]]\nname = \"part\"\nusers = [\"1000\"]\ngrants = [\"read\"]\nservices = [\"slack\"]";
    let cases = [
        (guard, "ingest.open refused the caller is on the workflow guard's list"),
        (part, "ingest.open refused no access rule grants it"),
        (ALL.replace("\"ingest\", ", ""), "ingest.open refused no access rule grants it"),
    ];
    for (rules, recorded) in cases {
        let mut host = Host::new(&rules);
        let refused = host.refused(Method::GET, "/v1/ingest/rejected/acme.json").await;
        assert_eq!(refused, (403, "forbidden".to_owned()));
        assert_eq!(host.recorded(), [recorded]);
    }
}

/// Every route but the public one, with the action that is recorded.
fn guarded() -> Vec<(Method, String, &'static str)> {
    vec![
        (Method::GET, "/v1/ingest".to_owned(), "list"),
        (Method::GET, format!("/v1/ingest/{INTENT}"), "list"),
        (Method::POST, format!("/v1/ingest/{INTENT}/retry"), "retry"),
        (Method::POST, format!("/v1/ingest/{INTENT}/adopt?authentication={INTENT}"), "adopt"),
        (Method::POST, format!("/v1/ingest/{INTENT}/discard"), "discard"),
        (Method::POST, "/v1/ingest/plan".to_owned(), "plan"),
        (Method::GET, "/v1/ingest/rejected/acme.json".to_owned(), "open"),
    ]
}

#[tokio::test]
async fn without_the_grant_for_everything_each_is_refused_and_recorded() {
    let other = ALL.replace(r#"["ingest", "read"]"#, r#"["metadata", "read", "refresh", "sync", "manage"]"#);
    for rules in ["", &other, &format!("{ALL}owners = [\"acme\"]")] {
        for (method, path, action) in guarded() {
            let mut host = Host::new(rules);
            assert_eq!(host.refused(method, &path).await, (403, "forbidden".to_owned()), "{path}");
            let recorded = host.recorded();
            assert!(recorded[0].starts_with(&format!("ingest.{action} refused")), "{recorded:?}");
            assert_eq!(recorded.len(), 1);
        }
    }
}

#[tokio::test]
async fn while_the_vault_is_locked_each_says_so_and_the_recipient_is_told() {
    let mut host = Host::new(ALL);
    let recipient = host.json(Method::GET, "/v1/recipient", "", |_| panic!("ingest was asked")).await;
    assert!(recipient.1["recipient"].as_str().unwrap().starts_with("age1"));
    host.api.cache.keyring().lock().unwrap();
    for (method, path, action) in guarded() {
        assert_eq!(host.refused(method, &path).await, (503, "locked".to_owned()), "{path}");
        let last = host.recorded().pop().unwrap();
        assert!(last.starts_with(&format!("ingest.{action} refused")), "{last}");
    }
    assert_eq!(host.json(Method::GET, "/v1/recipient", "", |_| panic!("ingest was asked")).await, recipient);
}
