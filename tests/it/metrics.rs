//! `GET /metrics` and the last refusals, of a daemon that has something to hide.

use std::collections::{BTreeMap, BTreeSet};

use hyper::Method;
use serde_json::Value;

use crate::support::{Daemon, House, OPEN};

/// One family of the text: its type, and its samples' names with their labels, as they are written, and values.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    unit: Option<String>,
    samples: Vec<(String, String, f64)>,
}

/// Reads OpenMetrics text 1.0.0 as strictly as its grammar has it; panics at what it does not permit.
fn parse(text: &str) -> BTreeMap<String, Family> {
    let body = text.strip_suffix("# EOF\n").expect("it ends with its end");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in body.split_terminator('\n') {
        if let Some(described) = line.strip_prefix("# ") {
            let mut words = described.splitn(3, ' ');
            let [what, name, rest] = [(); 3].map(|()| words.next().expect("a word"));
            if what == "HELP" {
                let new = families.insert(name.to_owned(), Family::default());
                assert!(new.is_none(), "{name} comes twice");
                name.clone_into(&mut current);
            }
            assert_eq!(name, current, "{line}: families are not interleaved");
            let family = families.get_mut(name).expect("HELP comes first");
            assert!(family.samples.is_empty(), "{line}: metadata come before samples");
            match what {
                "HELP" => assert!(!rest.is_empty() && !rest.contains(['"', '\\']), "{line}"),
                "TYPE" => rest.clone_into(&mut family.kind),
                "UNIT" => family.unit = Some(rest.to_owned()),
                _ => panic!("{line}"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = series
            .split_once('{')
            .map_or((series, ""), |(name, labels)| (name, labels.strip_suffix('}').expect("the labels end")));
        let suffix = name.strip_prefix(&current).unwrap_or_else(|| panic!("{line} is not of {current}"));
        let family = families.get_mut(&current).expect("described before");
        let suffixes: &[&str] = match family.kind.as_str() {
            "gauge" => &[""],
            "counter" => &["_total"],
            "info" => &["_info"],
            "histogram" => &["_bucket", "_sum", "_count"],
            kind => panic!("{kind} is no type"),
        };
        assert!(suffixes.contains(&suffix), "{line}");
        let value: f64 = value.parse().expect("a number");
        assert!(family.kind == "gauge" || value >= 0.0, "{line}");
        assert!(
            family.samples.iter().all(|(known, of, _)| (known.as_str(), of.as_str()) != (name, labels)),
            "{line} twice"
        );
        labels.split_terminator(',').for_each(check_label);
        family.samples.push((name.to_owned(), labels.to_owned(), value));
    }
    for (name, family) in &families {
        let plain = |text: &str| text.chars().all(|one| one.is_ascii_lowercase() || one.is_ascii_digit() || one == '_');
        assert!(name.starts_with("trayvault_") && plain(name), "{name}");
        assert!(!family.kind.is_empty(), "{name} has no type");
        assert!(!name.ends_with("_total"), "{name}: the suffix is the sample's");
        let unit = family.unit.as_deref();
        assert!(unit.is_none_or(|unit| name.ends_with(&format!("_{unit}"))), "{name} is not in {unit:?}");
        for word in ["seconds", "bytes", "ratio"] {
            let named = name.ends_with(&format!("_{word}"));
            assert!(!named || unit == Some(word), "{name} does not say its unit");
        }
    }
    families
}

fn check_label(label: &str) {
    let (name, value) = label.split_once('=').expect("a label");
    assert!(name.chars().all(|one| one.is_ascii_lowercase() || one == '_'), "{label}");
    let value = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).expect("quotes");
    assert!(!value.contains(['"', '\\']), "{label}: no word of the program's has to be escaped");
}

fn scrape(house: &House) -> BTreeMap<String, Family> {
    parse(&house.text("/metrics"))
}

fn value(families: &BTreeMap<String, Family>, sample: &str, labels: &str) -> Option<f64> {
    let all = families.values().flat_map(|family| &family.samples);
    all.into_iter().find(|(name, of, _)| (name.as_str(), of.as_str()) == (sample, labels)).map(|(_, _, value)| *value)
}

/// Starts a daemon that has pulled everything once.
fn pulled(house: &House) -> Daemon<'_> {
    let mut daemon = house.daemon();
    daemon.wait("the first cycle", || house.get("/v1/status").1["sync"]["last"].is_object().then_some(()));
    daemon
}

const READ_SLACK: &str = r#"
[[pull.rules]]
name = "everything-goes"
effect = "allow"

[[access.rules]]
name = "billing-reads-slack"
users = ["UID"]
grants = ["metadata", "read"]
services = ["slack"]
"#;

#[test]
fn the_answer_is_openmetrics_and_shows_how_the_daemon_stands() {
    let house = House::ready(OPEN);
    let daemon = pulled(&house);
    let (head, _) = house.exchange("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let head = head.to_lowercase();
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
    assert!(head.contains("cache-control: no-store"), "{head}");
    let (head, older) =
        house.exchange("GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: text/plain\r\nConnection: close\r\n\r\n");
    assert!(head.to_lowercase().contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(older.contains("\n# TYPE trayvault_audit_entries_total counter\n") && !older.contains("# EOF"), "{older}");
    let families = scrape(&house);
    let (_, status) = house.get("/v1/status");
    let full = status["authentications"]["full"].as_f64();
    assert_eq!(value(&families, "trayvault_authentications", "state=\"full\""), full);
    assert_eq!(value(&families, "trayvault_pulls_total", "outcome=\"sealed\""), full);
    assert_eq!(value(&families, "trayvault_vault_unlocked", ""), Some(1.0));
    assert_eq!(value(&families, "trayvault_sync_cycles_total", ""), Some(1.0));
    assert_eq!(value(&families, "trayvault_tray_circuit", "api=\"rest\",state=\"closed\""), Some(1.0));
    assert_eq!(value(&families, "trayvault_tray_answers_total", "outcome=\"unanswered\""), Some(0.0));
    let answered = value(&families, "trayvault_tray_answers_total", "outcome=\"success\"").expect("it is there");
    assert!(answered >= full.expect("a number"), "{answered}");
    assert!(value(&families, "trayvault_oldest_fetch_timestamp_seconds", "").is_some());
    assert!(value(&families, "trayvault_audit_entries_total", "").is_some_and(|entries| entries > answered / 2.0));
    daemon.stop();
}

#[test]
fn a_refusal_is_counted_and_shown_to_whoever_manages() {
    let house = House::ready(READ_SLACK);
    let daemon = pulled(&house);
    let refused = |house: &House| value(&scrape(house), "trayvault_api_refusals_total", "reason=\"no_rule\"");
    assert_eq!(refused(&house), None);
    let id = house.upstream("salesforce").id;
    assert_eq!(house.get(&format!("/v1/authentications/{id}/full")).0, 403);
    assert_eq!(refused(&house), Some(1.0));
    let route = "route=\"/v1/authentications/{id}/full\",method=\"GET\",code=\"403\"";
    assert_eq!(value(&scrape(&house), "trayvault_api_requests_total", route), Some(1.0));
    assert_eq!(house.get("/v1/status").1["refusals"], 1);
    assert_eq!(house.get("/v1/refusals").0, 403, "to see them is for who manages");
    house.configure(OPEN);
    daemon.stop();
    let daemon = pulled(&house);
    assert_eq!(house.get("/v1/refusals").1, serde_json::json!({ "refusals": [] }), "they are kept in memory alone");
    daemon.stop();
}

#[test]
fn the_last_refusals_say_who_asked_for_what_and_why_not() {
    let rules = OPEN.replace("\"read\", ", "");
    let house = House::ready(&rules);
    let daemon = pulled(&house);
    let id = house.upstream("slack").id;
    let (_, answer) = house.get(&format!("/v1/authentications/{id}/full"));
    house.ask(Method::POST, &format!("/v1/authentications/{id}/refresh"));
    let (status, list) = house.get("/v1/refusals");
    assert_eq!(status, 200, "{list}");
    let all = list["refusals"].as_array().expect("a list");
    let actions: Vec<_> = all.iter().map(|one| one["action"].as_str().expect("a word")).collect();
    assert_eq!(actions, ["authentication.refresh", "authentication.read"], "the newest in front");
    let read = &all[1];
    assert_eq!(read["request_id"], answer["request_id"]);
    assert_eq!((&read["authentication"], &read["reason"]), (&Value::from(id.to_string()), &"no_rule".into()));
    assert_eq!(read["uid"], rustix::process::getuid().as_raw());
    daemon.stop();
}

#[test]
fn no_id_and_no_name_is_in_the_metrics() {
    let house = House::ready(READ_SLACK);
    let daemon = pulled(&house);
    let all = house.world().authentications();
    for one in &all {
        house.get(&format!("/v1/authentications/{}/full", one.id));
        house.get(&format!("/v1/authentications?service={}", one.service));
    }
    house.get("/v1/no-such-route/of-acme");
    house.exchange("ACME /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let text = house.text("/metrics");
    parse(&text);
    let (_, list) = house.get("/v1/authentications");
    let listed = list["authentications"].as_array().expect("a list");
    assert!(!listed.is_empty());
    let mut names = vec!["billing-reads-slack".to_owned(), "everything-goes".to_owned(), "acme".to_owned()];
    for one in listed {
        names.push(one["name"].as_str().expect("a name").to_owned());
        let owner = one["owner"].as_object().expect("an owner").values();
        names.extend(owner.filter_map(Value::as_str).filter(|text| *text != "end_user").map(str::to_owned));
    }
    names.extend(all.iter().flat_map(|one| [one.id.to_string(), one.service.clone()]));
    names.push(format!("\"{}\"", rustix::process::getuid().as_raw()));
    let low = text.to_lowercase();
    for name in names.iter().filter(|name| !name.is_empty()) {
        assert!(!low.contains(&name.to_lowercase()), "{name} is in\n{text}");
    }
    let counted = |text: &str| text.lines().any(|line| line.starts_with("trayvault_api_requests_total{route=\"none\""));
    assert!(counted(&text), "a path that is no route's is counted as none\n{text}");
    daemon.stop();
}

/// The metrics that a text names, without what a histogram's and a counter's samples have behind the family's name.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|one: char| !one.is_ascii_alphanumeric() && one != '_');
    words.filter(|word| word.starts_with("trayvault_")).map(|word| family_of(word).to_owned()).collect()
}

fn family_of(sample: &str) -> &str {
    let suffixes = ["_total", "_info", "_bucket", "_sum", "_count"];
    suffixes.iter().find_map(|suffix| sample.strip_suffix(suffix)).unwrap_or(sample)
}

#[test]
fn every_metric_is_in_the_docs_and_on_the_dashboard_and_there_are_no_others() {
    let house = House::ready(OPEN);
    let daemon = pulled(&house);
    let exposed: BTreeSet<_> = scrape(&house).into_keys().collect();
    let docs = include_str!("../../docs/metrics.md");
    assert_eq!(named(docs), exposed);
    for (name, family) in scrape(&house) {
        let row = docs.lines().find(|line| line.starts_with(&format!("| `{name}"))).expect("a row");
        assert!(row.contains(&format!("| {} |", family.kind)), "{row}");
    }
    let dashboard: Value = serde_json::from_str(include_str!("../../docs/grafana.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let expressions: Vec<_> = targets.map(|target| target["expr"].as_str().expect("an expression")).collect();
    assert_eq!(named(&expressions.join("\n")), exposed);
    assert_eq!(dashboard["__inputs"][0]["name"], "DS_PROMETHEUS");
    let own = panels.iter().filter(|panel| panel["type"] != "row");
    assert!(own.into_iter().all(|panel| panel["datasource"]["uid"] == "${DS_PROMETHEUS}"));
    daemon.stop();
}
