//! Nothing that comes out of the program holds a secret, in whatever form. Every test's house is searched when it is
//! left (see `support`); here is what is written with the most to hide, and that the search finds what is there.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use hyper::Method;
use serde_json::{Value, json};
use trayvault::{
    emulator::{Call, Fault, FaultKind},
    secret::SecretBytes,
};

use crate::support::{
    CANARY, House, OPEN,
    search::{Search, forms},
};

/// Every file that the program wrote, named.
fn written(house: &House) -> Vec<(String, Vec<u8>)> {
    let own = ["master.token", "api-user.token"];
    let files = house.files().into_iter().filter(|path| !own.iter().any(|name| path.ends_with(name)));
    files.map(|path| (path.display().to_string(), fs::read(path).expect("a file"))).collect()
}

fn talkative() -> String {
    format!("{OPEN}\n[log]\nlevel = \"debug\"\n")
}

fn create(service: &str, credentials: &Value) -> Value {
    json!({
        "version": 1, "action": "create", "name": "Canary", "user": { "externalUserId": "acme-1" },
        "service": { "name": service, "version": 2 }, "environment": "Production", "credentials": credentials,
    })
}

#[test]
fn no_file_and_no_log_holds_a_secret_a_token_or_a_name() {
    let house = House::ready(&talkative());
    let mut daemon = house.daemon();
    house.sync();
    house.drop_file("accepted.json", &create("slack", &json!({ "accessToken": CANARY })));
    daemon.outcome("done/accepted.json.receipt.json");
    house.sync();
    house.succeeds(&["get", &house.upstream("slack").id.to_string()]);
    // While it runs, with its write-ahead logs, and after it stopped.
    let mut files = written(&house);
    daemon.stop();
    files.extend(written(&house));
    assert!(files.len() > 8);
    for (path, content) in &files {
        assert!(!content.windows(6).any(|window| window == b"acme-1"), "{path} holds a name");
    }
    Search::new(&house.world().secrets(), Vec::new()).finds_nothing_in(files.into_iter());
}

#[test]
fn nothing_quotes_a_request_that_is_wrong() {
    let house = House::ready(&talkative());
    let daemon = house.daemon();
    house.sync();
    let id = house.upstream("slack").id;
    let url = forms(CANARY.as_bytes()).into_iter().find(|(form, _)| form.starts_with("URL-encoded, every"));
    let url = String::from_utf8(url.expect("a form").1).expect("text");
    for canary in [CANARY, &url] {
        for path in [
            format!("/{canary}"),
            format!("/v1/{canary}?{canary}={canary}"),
            format!("/v1/authentications/{canary}"),
            format!("/v1/authentications/{canary}/full"),
            format!("/v1/authentications/{id}/full?field={canary}"),
            format!("/v1/authentications/{id}/full?field=/credentials/{canary}"),
            format!("/v1/authentications/{id}/full?max_age={canary}&{canary}=1"),
            format!("/v1/authentications/{id}/access?uid={canary}"),
            format!("/v1/authentications?limit={canary}"),
            format!("/v1/authentications?after={canary}"),
            format!("/v1/authentications?{canary}"),
            format!("/v1/ingest/{canary}"),
            format!("/v1/ingest/rejected/{canary}"),
            format!("/v1/ingest/{id}/adopt?authentication={canary}"),
            format!("/v1/unlock?kind={canary}"),
            format!("/metrics/{canary}"),
        ] {
            for method in [Method::GET, Method::POST, Method::DELETE] {
                let body = SecretBytes::new(canary.as_bytes().to_vec());
                house.send(method, &path, Some(body));
            }
        }
    }
    for request in [
        format!("{CANARY}\r\n\r\n"),
        format!("{CANARY} /v1/status HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
        format!("GET /v1/status {CANARY}\r\nHost: a\r\n\r\n"),
        format!("GET {CANARY} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
        format!("GET http://{CANARY}/v1/status HTTP/1.1\r\nHost: {CANARY}\r\nConnection: close\r\n\r\n"),
        format!("GET /v1/status HTTP/1.1\r\nHost: a\r\n{CANARY}\r\n\r\n"),
        format!("GET /v1/status HTTP/1.1\r\nHost: a\r\nContent-Length: {CANARY}\r\n\r\n"),
        format!("POST /v1/ingest/plan HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{CANARY}\r\n"),
        format!("GET /v1/status HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {CANARY}\r\nConnection: close\r\n\r\n"),
    ] {
        house.exchange(&request);
    }
    house.send(Method::POST, "/v1/unlock?kind=passphrase", Some(SecretBytes::new(CANARY.into())));
    daemon.stop();
}

#[test]
fn nothing_quotes_a_document_that_is_wrong() {
    let house = House::ready(&talkative());
    let mut daemon = house.daemon();
    house.sync();
    let good = create("slack", &json!({ "accessToken": CANARY }));
    let mut wrong: Vec<String> = Vec::new();
    for field in good.as_object().expect("fields").keys().filter(|field| *field != "name") {
        // A key is named, so that a mistyped one can be found; no value is.
        for value in [json!(CANARY), json!([CANARY]), json!({ "name": [CANARY], "other": CANARY })] {
            let mut document = good.clone();
            document[field] = value;
            wrong.push(document.to_string());
        }
    }
    wrong.extend([
        create("netsuite", &json!({ "tokenId": CANARY })).to_string(),
        CANARY.to_owned(),
        format!("\"{CANARY}\""),
        format!("{{\"version\": 1, \"credentials\": {{\"accessToken\": \"{CANARY}"),
        format!("{{\"version\": 1, \"credentials\": {{\"accessToken\": \"{CANARY}\\q\"}}}}"),
        good.to_string().replace("\"version\":1", &format!("\"version\":1,\"version\":\"{CANARY}\"")),
    ]);
    for (number, document) in wrong.iter().enumerate() {
        house.send(Method::POST, "/v1/ingest/plan", Some(SecretBytes::new(document.clone().into())));
        let draft = format!("drop/.{number}");
        house.private(&draft, document);
        fs::rename(house.path(&draft), house.given(&format!("drop/{number}.json"))).expect("a rename");
    }
    for number in 0..wrong.len() {
        let (done, rejected) =
            (format!("done/{number}.json.receipt.json"), format!("rejected/{number}.json.reason.json"));
        let either = || [&done, &rejected].iter().any(|name| house.path(&format!("drop/{name}")).exists());
        daemon.wait(&rejected, || either().then_some(()));
    }
    house.succeeds(&["status"]);
    house.succeeds(&["ingest", "list"]);
    house.text("/metrics");
    daemon.stop();
}

#[test]
fn nothing_quotes_an_error_of_trays() {
    let house = House::ready(&talkative());
    let daemon = house.daemon();
    let world = house.world();
    world.set_limit(None);
    let kinds = [
        FaultKind::Status(400),
        FaultKind::Status(403),
        FaultKind::Status(404),
        FaultKind::Status(500),
        FaultKind::Html,
        FaultKind::TruncatedJson,
        FaultKind::InternalError,
        FaultKind::WrongType,
    ];
    for kind in kinds {
        for call in [Call::ListUsers, Call::ListAuthentications, Call::ListEnvironments, Call::FullRead] {
            world.add_fault(Fault::before(call, kind));
            house.run(&["sync"]);
            world.clear_faults();
        }
    }
    house.succeeds(&["status"]);
    house.get("/v1/status");
    house.get("/v1/refusals");
    house.text("/metrics");
    daemon.stop();
}

#[test]
fn nothing_shows_on_a_terminal() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    house.get(&format!("/v1/authentications/{CANARY}/full?field={CANARY}"));
    let (code, seen) = house.at_a_terminal("top", "\n\nq");
    assert!(code == Some(0) && seen.contains("unlocked"), "{code:?} {seen}");
    for command in ["status", "list", "sync", "ingest list", "audit verify", "check", "key list"] {
        let (code, seen) = house.at_a_terminal(command, "");
        assert_eq!(code, Some(0), "{command}: {seen}");
    }
    daemon.stop();
}

#[test]
fn nothing_quotes_an_argument_that_is_wrong() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    let id = house.upstream("slack").id.to_string();
    for arguments in [
        ["get", CANARY].as_slice(),
        &["get", &id, "--field", CANARY],
        &["get", &id, "--max-age", CANARY],
        &["get", &id, CANARY],
        &["unlock", CANARY],
        &["unlock", &format!("--passphrase={CANARY}")],
        &["ingest", "show", CANARY],
        &["ingest", "retry", CANARY],
        &["exec", "--set", CANARY, "--", "true"],
        &["exec", "--set", &format!("TOKEN={CANARY}"), "--", "true"],
    ] {
        assert!(!house.run(arguments).status.success(), "{arguments:?}");
    }
    daemon.stop();
}

#[test]
fn nothing_quotes_a_configuration_that_holds_what_it_should_not() {
    let house = House::new(OPEN);
    let right = fs::read_to_string(house.path("trayvault.toml")).expect("a configuration");
    house.given("trayvault.toml");
    for line in [
        format!("tray.api_url = \"https://user:{CANARY}@api.tray.io\""),
        format!("tray.header_timeout = \"{CANARY}\""),
        format!("tray.header_timeout = {CANARY}"),
        format!("sync.interval = \"{CANARY}"),
        format!("log.level = \"{CANARY}\""),
    ] {
        fs::write(house.path("trayvault.toml"), format!("{line}\n")).expect("a configuration");
        house.run(&["check"]);
        house.run(&["run"]);
    }
    for (part, wrong) in [
        ("master = { file", format!("master = \"{CANARY}\", other = {{ file")),
        ("master = { file", format!("master = {{ token = \"{CANARY}\", file")),
        ("vault.unlock = { key_file", format!("vault.unlock = {{ passphrase = \"{CANARY}\", key_file")),
    ] {
        fs::write(house.path("trayvault.toml"), right.replacen(part, &wrong, 1)).expect("a configuration");
        assert!(!house.run(&["check"]).status.success(), "{part}");
        assert!(!house.run(&["run"]).status.success(), "{part}");
    }
}

#[test]
fn the_search_finds_a_secret_in_every_form_wherever_it_starts() {
    const SECRET: &str = "p/a \"s\"\\s+phrase of é 41 magpies";
    let search = Search::new(&[], vec![("a passphrase".to_owned(), SECRET.into())]);
    let form = |text: &str| search.find(text.as_bytes()).unwrap_or_default();
    assert_eq!(form("p/a \"s\"\\s+phrase of é 41 magpie"), "");
    assert!(form(&format!("x{SECRET}y")).starts_with("a passphrase (plain) at 1"));
    for before in ["", "a", "ab", "abc"] {
        let text = format!("{before}{SECRET}{before}");
        for encoded in [STANDARD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
            assert!(form(&encoded).contains("(base64)"), "{encoded}");
        }
        let each = |write: fn(u8) -> String| text.bytes().map(write).collect::<String>();
        let hex = each(|byte| format!("{byte:02x}"));
        assert!(form(&hex).contains("(hex)") && form(&hex.to_uppercase()).contains("(hex)"));
        assert!(form(&each(|byte| format!("%{byte:02X}"))).contains("(URL-encoded, every byte)"));
        assert!(form(&format!("{:?}", text.as_bytes())).contains("(a list of bytes)"));
        assert!(form(&json!({ "said": text }).to_string()).contains("(JSON-escaped)"));
    }
    assert!(form("p%2Fa%20%22s%22%5Cs%2Bphrase%20of%20%C3%A9%2041%20magpies").contains("(URL-encoded)"));
    assert!(form("p%2fa%20%22s%22%5cs%2bphrase%20of%20%c3%a9%2041%20magpies").contains("(URL-encoded)"));
    assert!(form("p%2Fa+%22s%22%5Cs%2Bphrase+of+%C3%A9+41+magpies").contains("(URL-encoded)"));
    let write: fn(u8) -> String = |byte| format!("\\u{byte:04x}");
    let escaped: String = CANARY.bytes().map(write).collect();
    assert!(form(&escaped).contains("a canary (JSON-escaped, every byte)"));
    assert!(form(&SECRET.escape_default().to_string().replace("\\u{e9}", "é")).contains("a passphrase"));
}

#[test]
fn a_house_that_holds_a_secret_in_a_file_a_log_an_answer_or_what_was_said_is_not_left_in_silence() {
    let hidden = |hide: &dyn Fn(&House, &str)| {
        let house = House::new(OPEN);
        house.private("a.passphrase", "correct horse battery staple\n");
        let token = house.emulator().tokens().master.clone();
        for secret in [token.as_str(), CANARY, "correct horse battery staple"] {
            hide(&house, &STANDARD.encode(secret));
        }
        let left = catch_unwind(AssertUnwindSafe(|| drop(house))).expect_err("it is found");
        left.downcast_ref::<String>().expect("a message").matches("(base64)").count()
    };
    for name in ["state/audit/audit.jsonl", "drop/rejected/a.json.reason.json", "drop/done/a.json.receipt.json"] {
        let hide = |house: &House, secret: &str| {
            let path = house.path(name);
            fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
            fs::write(path, secret).expect("a file");
        };
        // The last one of the three is there.
        assert_eq!(hidden(&hide), 1, "{name}");
    }
    assert_eq!(hidden(&|house, secret| house.capture("a terminal", secret.as_bytes())), 3);
    assert_eq!(hidden(&|house, secret| house.answered("/v1/status", 200, secret.as_bytes())), 3);
    assert_eq!(hidden(&|house, secret| house.answered("/v1/authentications/1/full", 403, secret.as_bytes())), 3);
    let echo = |house: &House, secret: &str| {
        let mut command = house.command("sh".as_ref());
        house.output(command.args(["-c", "echo $0 >&2"]).arg(secret), true);
    };
    assert_eq!(hidden(&echo), 3);
}
