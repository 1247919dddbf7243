//! docs/openapi.json against the routes: what it says and what is there, in both directions.

use std::collections::BTreeSet;

use axum::http::header;

use super::*;
use crate::{
    socket::{answer, answer::ApiError, events::Endless},
    task::Tasks,
};

/// Of whom no rule speaks.
const NOBODY: u32 = 4_000;
/// Who is granted everything.
const EVERYBODY: u32 = 4_001;
/// The first of those who are each granted everything but one.
const ALL_BUT_ONE: u32 = 5_000;

const GRANTS: [&str; 7] = ["status", "metadata", "read", "refresh", "sync", "ingest", "manage"];
const METHODS: [Method; 7] =
    [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS, Method::TRACE];

fn document() -> Value {
    serde_json::from_str(include_str!("../../../docs/openapi.json")).expect("JSON")
}

/// One operation of the document.
struct Operation {
    method: Method,
    /// With the examples of its parameters in place of them.
    path: String,
    query: Vec<(String, String)>,
    is_query_needed: bool,
    grants: Vec<String>,
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A path of the document as it may be asked for.
fn filled(document: &Value, path: &str, item: &Value) -> String {
    let parameters = item["parameters"].as_array().into_iter().flatten();
    parameters.fold(path.to_owned(), |path, parameter| {
        let pointer = parameter["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
        let parameter = pointer.and_then(|pointer| document.pointer(pointer)).unwrap_or(parameter);
        path.replace(&format!("{{{}}}", text(&parameter["name"])), &text(&parameter["example"]))
    })
}

fn operations(document: &Value) -> Vec<Operation> {
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("an item").iter().filter(|(key, _)| *key != "parameters") {
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let queried: Vec<_> = parameters.filter(|parameter| parameter["in"] == "query").collect();
            let pair = |parameter: &&Value| (text(&parameter["name"]), text(&parameter["example"]));
            operations.push(Operation {
                method: method.to_uppercase().parse().expect("a method"),
                path: filled(document, path, item),
                query: queried.iter().map(pair).collect(),
                is_query_needed: queried.iter().any(|parameter| parameter["required"] == true),
                grants: operation["x-grants"].as_array().expect("grants").iter().map(text).collect(),
            });
        }
    }
    operations
}

/// The API, where nothing is held and nobody answers what ingest and synchronisation are asked.
struct Bare {
    routes: Routes,
    _host: tempfile::TempDir,
    tasks: Tasks,
}

impl Bare {
    fn new() -> Self {
        let rule = |uid: u32, grants: &[&str]| {
            format!("[[access.rules]]\nname = \"of {uid}\"\nusers = [\"{uid}\"]\ngrants = {grants:?}\n")
        };
        let mut rules = rule(EVERYBODY, &GRANTS);
        for (uid, without) in (ALL_BUT_ONE..).zip(GRANTS) {
            let others: Vec<_> = GRANTS.into_iter().filter(|grant| *grant != without).collect();
            rules += &rule(uid, &others);
        }
        let Host { api, requests, directory } = Host::new(&rules);
        drop(requests);
        Self { routes: Routes::new(api), _host: directory, tasks: Tasks::default() }
    }

    async fn ask(&self, uid: u32, method: Method, path: &str, body: &'static str) -> axum::http::Response<Body> {
        let process =
            Process::Known { unit: None, units: Vec::new(), names: vec!["shell".to_owned()], beside_guarded: false };
        let caller = Arc::new(Caller { uid, gids: vec![uid], process });
        let session = Session { caller, shutdown: &self.tasks.shutdown(), endless: &Endless::default() };
        let request = Request::builder().method(method).uri(path).body(Body::from(body)).unwrap();
        self.routes.answer(request, session).await
    }

    async fn status(&self, uid: u32, method: Method, path: &str) -> u16 {
        self.ask(uid, method, path, "").await.status().as_u16()
    }
}

async fn code(answer: axum::http::Response<Body>) -> String {
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    text(&serde_json::from_slice::<Value>(&body).expect("JSON")["code"])
}

#[test]
fn the_document_has_every_path_and_no_other() {
    let document = document();
    let documented: BTreeSet<_> = document["paths"].as_object().expect("paths").keys().map(String::as_str).collect();
    assert_eq!(documented, routes::routes().into_iter().map(|(path, _)| path).collect());
}

#[tokio::test]
async fn a_path_has_the_methods_of_the_document_and_no_other() {
    let (bare, document) = (Bare::new(), document());
    for (path, item) in document["paths"].as_object().expect("paths") {
        let filled = filled(&document, path, item);
        let has = |method: &Method| item.get(method.as_str().to_lowercase()).is_some();
        for method in METHODS {
            let answer = bare.ask(NOBODY, method.clone(), &filled, "").await;
            assert_eq!(answer.status() != StatusCode::METHOD_NOT_ALLOWED, has(&method), "{method} {path}");
            if !has(&method) {
                let allowed = answer.headers()[header::ALLOW].to_str().unwrap().to_owned();
                let expected = if has(&Method::GET) { "GET,HEAD" } else { "POST" };
                assert_eq!((allowed.as_str(), code(answer).await.as_str()), (expected, "method_not_allowed"), "{path}");
            }
        }
        let of = |method| bare.status(NOBODY, method, &filled);
        assert_eq!(of(Method::HEAD).await, of(Method::GET).await, "HEAD {path}");
    }
    assert_eq!(code(bare.ask(EVERYBODY, Method::GET, "/v1/nothing", "").await).await, "no_route");
}

#[tokio::test]
async fn each_operation_takes_the_grants_that_the_document_says_and_no_other() {
    let (bare, operations) = (Bare::new(), operations(&document()));
    for Operation { method, path, query, is_query_needed, grants, .. } in operations {
        let needed = query.iter().filter(|_| is_query_needed).map(|(name, value)| format!("?{name}={value}"));
        let path = path + &needed.collect::<String>();
        let refused = async |uid| {
            let answer = bare.ask(uid, method.clone(), &path, "").await;
            answer.status() == StatusCode::FORBIDDEN && code(answer).await == "forbidden"
        };
        assert_eq!(refused(NOBODY).await, !grants.is_empty(), "{method} {path}");
        assert!(!refused(EVERYBODY).await, "{method} {path}");
        for (uid, without) in (ALL_BUT_ONE..).zip(GRANTS) {
            let is_needed = grants.iter().any(|grant| grant == without);
            assert_eq!(refused(uid).await, is_needed, "{method} {path} without {without}");
        }
    }
}

#[tokio::test]
async fn what_a_query_may_ask_for_is_in_the_document_and_anything_else_is_refused() {
    let (bare, operations) = (Bare::new(), operations(&document()));
    for Operation { method, path, query, is_query_needed, .. } in operations.iter().filter(|one| !one.query.is_empty())
    {
        let all = query.iter().map(|(name, value)| format!("{name}={}", crate::percent::encode(value)));
        let all = all.collect::<Vec<_>>().join("&");
        let answer = bare.ask(EVERYBODY, method.clone(), &format!("{path}?{all}"), "a passphrase").await;
        assert_ne!(answer.status(), StatusCode::BAD_REQUEST, "{path}?{all}");
        if !is_query_needed {
            assert_ne!(bare.status(EVERYBODY, method.clone(), path).await, 400, "{path}");
        }
        let (name, value) = &query[0];
        for wrong in [format!("{all}&more=1"), format!("{all}&{name}={value}"), format!("{all}&{name}2={value}")] {
            let answer = bare.ask(EVERYBODY, method.clone(), &format!("{path}?{wrong}"), "a passphrase").await;
            assert_eq!(code(answer).await, "bad_request", "{path}?{wrong}");
        }
    }
}

#[tokio::test]
async fn the_document_has_every_code_and_no_other_each_under_its_status() {
    let document = document();
    let mut there = BTreeSet::new();
    let errors = ApiError::every().map(|error| error.answer(Uuid::nil()));
    for answer in errors.chain(every_refusal().map(|refusal| answer::ingest_refusal(&refusal, Uuid::nil()))) {
        there.insert((answer.status().as_u16(), code(answer).await));
    }
    let listed = document.pointer("/components/schemas/Error/properties/code/enum").expect("an enum");
    let listed: BTreeSet<_> = listed.as_array().expect("a list").iter().map(text).collect();
    assert_eq!(listed, there.iter().map(|(_, code)| code.clone()).collect());

    let said = text(&document["info"]["description"]);
    for (status, code) in &there {
        assert!(said.contains(&format!("| `{code}` | {status} |")), "{status} {code} is not in the table");
    }
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("an item").iter().filter(|(key, _)| *key != "parameters") {
            for (status, response) in operation["responses"].as_object().expect("responses") {
                let pointer = response["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
                let response = pointer.and_then(|pointer| document.pointer(pointer)).unwrap_or(response);
                let codes = response.pointer("/content/application~1json/schema/properties/code/enum");
                for code in codes.and_then(Value::as_array).into_iter().flatten() {
                    let pair = (status.parse().expect("a status"), text(code));
                    assert!(there.contains(&pair), "{method} {path}: {pair:?}");
                }
            }
        }
    }
}

/// Every refusal of ingest's, each behind the one that is declared before it, so that a new one is not forgotten.
fn every_refusal() -> impl Iterator<Item = IngestRefusal> {
    std::iter::successors(Some(IngestRefusal::Off), |refusal| match refusal {
        IngestRefusal::Off => Some(IngestRefusal::NotFound),
        IngestRefusal::NotFound => Some(IngestRefusal::Conflict("")),
        IngestRefusal::Conflict(_) => Some(IngestRefusal::Bad("")),
        IngestRefusal::Bad(_) => Some(IngestRefusal::Unavailable(String::new())),
        IngestRefusal::Unavailable(_) => None,
    })
}

#[tokio::test]
async fn a_name_that_is_no_text_is_refused_with_a_code() {
    let bare = Bare::new();
    for path in ["/v1/authentications/%ff", "/v1/authentications/%ff/full", "/v1/authentications/%ff/who-can"] {
        let answer = bare.ask(EVERYBODY, Method::GET, path, "").await;
        assert_eq!(answer.headers()[header::CACHE_CONTROL], "no-store");
        assert_eq!(code(answer).await, "bad_request", "{path}");
    }
}
