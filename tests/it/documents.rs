//! The documents: what they show is so, and what they point to is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use trayvault::{
    authentication::Metadata,
    config::Config,
    policy::{self, Caller, Grant, Policy, What},
};

/// Every document, with its text.
fn documents() -> BTreeMap<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = ["", "docs", "systemd", "benches", "fuzz"].into_iter().flat_map(|directory| {
        let entries = fs::read_dir(root.join(directory)).expect("a directory");
        entries.map(|entry| entry.expect("an entry").path())
    });
    let documents = names.filter(|path| path.extension().is_some_and(|kind| kind == "md"));
    documents.map(|path| (path.clone(), fs::read_to_string(path).expect("text"))).collect()
}

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect("a document")
}

/// The fenced blocks of a kind.
fn blocks<'a>(text: &'a str, kind: &str) -> Vec<&'a str> {
    let fence = format!("```{kind}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("\n```").next().unwrap_or_default()).collect()
}

/// Whatever it is called, it is there.
fn uid(name: &str) -> u32 {
    1_000 + u32::try_from(name.len()).expect("short")
}

/// The rules of a configuration, on a host that has whatever it names.
fn policy(block: &str) -> Policy {
    let Config { pull, access, credential, workflow_guard, .. } =
        toml::from_str(block).unwrap_or_else(|error| panic!("{error}\n{block}"));
    let rules = policy::Config { pull, access, credential, workflow_guard };
    Policy::new(&rules, |name| Some(uid(name)), |name| Some(uid(name)), 0)
        .unwrap_or_else(|error| panic!("{error}\n{block}"))
}

#[test]
fn what_is_shown_of_a_configuration_can_be_used() {
    let mut shown = 0;
    for (path, text) in documents() {
        for block in blocks(&text, "toml") {
            shown += 1;
            assert!(!block.trim().is_empty(), "{}", path.display());
            // [access] and [[credential]] that name nobody grant nothing.
            drop(policy(block));
        }
    }
    assert!(shown >= 10, "{shown}");
}

#[test]
fn the_recipe_of_the_billing_worker_grants_what_it_says_and_no_more() {
    let access = document("docs/access.md");
    let recipe = blocks(&access, "toml").into_iter().find(|block| block.contains("billing worker")).expect("a recipe");
    let policy = policy(recipe);
    let caller = |uid, unit: &str| Caller {
        uid,
        gids: vec![uid],
        process: policy::Process::Known {
            beside_guarded: false,
            unit: Some(unit.to_owned()),
            units: vec![unit.to_owned()],
            names: Vec::new(),
        },
    };
    let of = |service: &str| -> Metadata {
        let metadata = serde_json::json!({
            "id": "35f093e7-c6b9-419d-aa95-cf0c7e3747de", "name": "one", "owner": { "principal": "workspace" },
            "service": { "name": service, "version": "1" },
            "environment": { "id": "35f093e7-c6b9-419d-aa95-cf0c7e3747df", "title": "Production" },
        });
        serde_json::from_value(metadata).expect("metadata")
    };
    let billing = caller(uid("billing"), "billing.service");
    let reads = |caller: &Caller, service: &str, field: &str| {
        let (metadata, pointer) = (of(service), field.parse().expect("a pointer"));
        policy.access(caller, Grant::Read, What::Part(&metadata, &pointer)).is_granted()
    };
    assert!(reads(&billing, "salesforce", "/credentials/access_token"));
    assert!(!reads(&billing, "salesforce", "/credentials/refresh_token"));
    assert!(!reads(&billing, "slack", "/credentials/access_token"));
    assert!(!reads(&caller(uid("billing"), "session-1.scope"), "salesforce", "/credentials/access_token"));
    assert!(!reads(&caller(uid("other user"), "billing.service"), "salesforce", "/credentials/access_token"));
    let whole = of("salesforce");
    assert!(!policy.access(&billing, Grant::Read, What::One(&whole)).is_granted());
    assert!(policy.access(&billing, Grant::Refresh, What::One(&whole)).is_granted());
}

#[test]
fn the_reference_of_the_api_is_that_of_its_description() {
    let text = document("docs/api.md");
    let description: Value = serde_json::from_str(&document("docs/openapi.json")).expect("JSON");
    let rows = |text: &str| -> Vec<Vec<String>> {
        let lines = text.lines().filter(|line| line.starts_with("| `"));
        let cells = |line: &str| line.split(" | ").map(|cell| cell.trim_matches(['|', ' ', '`']).to_owned()).collect();
        lines.map(cells).collect()
    };
    let section =
        |start: &str| text.split(start).nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a section");
    let listed: BTreeSet<_> = rows(section("## Every endpoint")).into_iter().map(|row| row[0].clone()).collect();
    let paths = description["paths"].as_object().expect("paths");
    let described: BTreeSet<_> = paths
        .iter()
        .flat_map(|(path, item)| item.as_object().expect("methods").keys().map(move |method| (path, method)))
        .filter(|(_, method)| ["get", "post", "put", "delete"].contains(&method.as_str()))
        .map(|(path, method)| format!("{} {path}", method.to_uppercase()))
        .collect();
    assert_eq!(listed, described);
    let codes = |text: &str| -> BTreeSet<(String, String)> {
        let coded = rows(text).into_iter().filter(|row| row.len() > 1 && row[1].parse::<u16>().is_ok());
        coded.map(|row| (row[0].clone(), row[1].clone())).collect()
    };
    let described = codes(description["info"]["description"].as_str().expect("text"));
    assert!(described.len() > 20, "{described:?}");
    assert_eq!(codes(section("## Answers and errors")), described);
}

/// A heading's anchor, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn what_documents_point_to_is_there() {
    let documents = documents();
    let mut pointed = 0;
    for (path, text) in &documents {
        let mut prose = String::new();
        let mut fenced = false;
        for line in text.lines() {
            fenced ^= line.trim_start().starts_with("```");
            if !fenced {
                prose += line;
                prose.push('\n');
            }
        }
        let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://")) {
            pointed += 1;
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let to = if file.is_empty() { path.clone() } else { path.parent().expect("a directory").join(file) };
            assert!(to.exists(), "{}: {target}", path.display());
            if !heading.is_empty() {
                let to = fs::read_to_string(&to).expect("text");
                let mut headings = to.lines().filter(|line| line.starts_with('#'));
                let found = headings.any(|line| anchor(line.trim_start_matches('#')) == heading);
                assert!(found, "{}: {target}", path.display());
            }
        }
    }
    assert!(pointed > 50, "{pointed}");
}
