//! A caller that holds every answer against docs/openapi.json.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
};

use serde_json::{Value, json};

use crate::support::House;

pub(super) fn document() -> Value {
    serde_json::from_str(include_str!("../../../docs/openapi.json")).expect("JSON")
}

/// An answer as it came.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// Opens a connection and sends a request that is its last.
fn send(house: &House, method: &str, target: &str, headers: &str, body: &[u8]) -> BufReader<UnixStream> {
    let mut stream = UnixStream::connect(house.path("run/api.sock")).expect("a connection");
    let length = body.len();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
    );
    stream.write_all(&[head.as_bytes(), body].concat()).expect("written");
    BufReader::new(stream)
}

fn read_head(reader: &mut BufReader<UnixStream>) -> Reply {
    let mut line = String::new();
    let mut next = || {
        line.clear();
        reader.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    };
    let status = next().split(' ').nth(1).expect("a status").parse().expect("a number");
    let mut headers = BTreeMap::new();
    while let Some((name, value)) = next().split_once(": ") {
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    Reply { status, headers, body: Vec::new() }
}

pub(super) struct Witness<'a> {
    house: &'a House,
    document: Value,
    /// Operations, with the statuses and codes that were seen of each.
    pub(super) seen: BTreeSet<(String, u16, String)>,
}

impl<'a> Witness<'a> {
    pub(super) fn new(house: &'a House) -> Self {
        Self { house, document: document(), seen: BTreeSet::new() }
    }

    pub(super) fn get(&mut self, target: &str) -> Reply {
        self.ask("GET", target, "", b"")
    }

    pub(super) fn post(&mut self, target: &str) -> Reply {
        self.ask("POST", target, "", b"")
    }

    /// Asks, and holds the answer against the document.
    #[track_caller]
    pub(super) fn ask(&mut self, method: &str, target: &str, headers: &str, body: &[u8]) -> Reply {
        let mut reader = send(self.house, method, target, headers, body);
        let mut reply = read_head(&mut reader);
        // Not to the end: a body that was not taken in resets the connection behind the answer.
        let length = reply.headers.get("content-length").map_or(0, |length| length.parse().expect("a length"));
        reply.body.resize(length, 0);
        reader.read_exact(&mut reply.body).expect("a body");
        self.house.answered(target, reply.status, &reply.body);
        self.check(method, target, &reply);
        reply
    }

    /// Asks for a stream of events and reads it until there were as many of each name; `cause` makes them happen.
    pub(super) fn listen(&mut self, names: &[&str], cause: impl FnOnce()) {
        let mut reader = send(self.house, "GET", "/v1/events", "", b"");
        let reply = read_head(&mut reader);
        self.check("GET", "/v1/events", &reply);
        cause();
        let schemas = self.document.pointer("/paths/~1v1~1events/get/x-events").expect("events").clone();
        let (mut missing, mut name): (BTreeSet<_>, _) = (names.iter().copied().collect(), String::new());
        for line in reader.lines() {
            let line = line.expect("a line");
            self.house.answered("/v1/events", reply.status, line.as_bytes());
            if let Some(event) = line.strip_prefix("event: ") {
                event.clone_into(&mut name);
            } else if let Some(data) = line.strip_prefix("data: ") {
                let data: Value = serde_json::from_str(data).expect("JSON");
                let schema = &schemas[&name];
                assert!(schema.is_object(), "the document has no event {name}");
                self.fits(schema, &data, &name);
                missing.remove(name.as_str());
                if missing.is_empty() {
                    return;
                }
            }
        }
        panic!("the stream ended without {missing:?}");
    }

    #[track_caller]
    fn check(&mut self, method: &str, target: &str, reply: &Reply) {
        let place = format!("{method} {target}: {} {}", reply.status, String::from_utf8_lossy(&reply.body));
        let operation = self.operation(method, target).unwrap_or_else(|| panic!("{place}: no such operation"));
        let response = match reply.status {
            404 if reply.body.windows(8).any(|part| part == b"no_route") => panic!("{place}"),
            status => {
                operation["responses"].get(status.to_string()).unwrap_or_else(|| panic!("{place}: no such status"))
            }
        };
        let response = self.resolved(response);
        for (name, header) in response["headers"].as_object().expect("headers") {
            let value = reply.headers.get(&name.to_lowercase()).unwrap_or_else(|| panic!("{place}: no {name}"));
            self.fits(&self.resolved(header)["schema"], &value.as_str().into(), &place);
        }
        let Some(content) = response["content"].as_object() else {
            assert!(reply.body.is_empty() && !reply.headers.contains_key("content-type"), "{place}: a body");
            return self.note(&operation, reply.status, "");
        };
        let kind = reply.headers.get("content-type").expect("a content type");
        let media = content.get(kind).unwrap_or_else(|| panic!("{place}: {kind}"));
        if kind != "application/json" {
            return self.note(&operation, reply.status, "");
        }
        self.fits(&media["schema"], &reply.json(), &place);
        self.note(
            &operation,
            reply.status,
            reply.json()["code"].as_str().filter(|_| reply.status >= 400).unwrap_or(""),
        );
    }

    fn note(&mut self, operation: &Value, status: u16, code: &str) {
        let id = operation["operationId"].as_str().expect("an id").to_owned();
        self.seen.insert((id, status, code.to_owned()));
    }

    /// The operation that a target is about: of the paths that fit, the one with the fewest parameters.
    fn operation(&self, method: &str, target: &str) -> Option<Value> {
        let path = target.split('?').next()?;
        let fits = |template: &str| {
            let (parts, asked): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
            parts.len() == asked.len()
                && parts.iter().zip(asked).all(|(part, asked)| part.starts_with('{') || *part == asked)
        };
        let paths = self.document["paths"].as_object().expect("paths").iter();
        let fitting = paths.filter(|(template, _)| fits(template));
        let (_, item) = fitting.min_by_key(|(template, _)| template.matches('{').count())?;
        item.get(method.to_lowercase()).cloned()
    }

    fn resolved(&self, value: &Value) -> Value {
        let pointer = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
        pointer.map_or(value, |pointer| self.document.pointer(pointer).expect("it is there")).clone()
    }

    /// Holds a value against a schema of the document.
    #[track_caller]
    pub(super) fn fits(&self, schema: &Value, value: &Value, place: &str) {
        let whole = json!({ "allOf": [schema], "components": self.document["components"] });
        let validator = jsonschema::options().should_validate_formats(true).build(&whole).expect("a schema");
        let errors: Vec<_> =
            validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{place}\n{}", errors.join("\n"));
    }
}
