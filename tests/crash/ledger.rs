//! What was dropped, and what is to become of it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use uuid::Uuid;

pub(crate) use crate::support::CANARY;

/// What can be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    Create,
    /// For an end user who is made first.
    NewUser,
    Upsert,
    /// An update in part.
    Part,
    /// An update of everything.
    Whole,
    Delete,
    /// The same document as an earlier create's.
    Copy,
    /// What breaks its service's schema.
    Schema,
    NotJson,
    /// The same, and too long to be overwritten at once.
    Long,
    /// What is no file at all.
    Link,
    /// A create that is sealed to the vault.
    Sealed,
    /// A file of many, one line of which is no document.
    Bulk,
}

/// What is to become of a document.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    /// One authentication of this name.
    Made {
        name: String,
        new_user: Option<String>,
    },
    /// One authentication of this name, made or changed.
    Upserted {
        name: String,
    },
    Updated {
        id: Uuid,
    },
    Deleted {
        id: Uuid,
    },
    /// Nothing: the authentication of this name is there.
    Copied {
        name: String,
    },
    Refused,
    MovedAside,
    Lines(Vec<(Wish, Vec<u8>)>),
}

/// A dropped file.
#[derive(Clone)]
pub(crate) struct Dropped {
    pub(crate) file: String,
    pub(crate) wish: Wish,
    /// In the clear.
    pub(crate) content: Vec<u8>,
}

/// An end user who is there from the start.
pub(crate) struct User {
    pub(crate) external: String,
    /// What updates change.
    pub(crate) updated: Uuid,
}

pub(crate) struct Ledger {
    serial: u32,
    pub(crate) users: Vec<User>,
    pub(crate) dropped: Vec<Dropped>,
    /// How many of them the oracle has seen to their end.
    pub(crate) settled: usize,
    /// The token that an authentication is to have at last.
    pub(crate) tokens: BTreeMap<Uuid, String>,
    /// The same of upserts, by their names.
    pub(crate) upserted: BTreeMap<String, String>,
}

impl Ledger {
    pub(crate) fn new(users: Vec<User>) -> Self {
        Self { serial: 0, users, dropped: Vec::new(), settled: 0, tokens: BTreeMap::new(), upserted: BTreeMap::new() }
    }

    pub(crate) fn serial(&mut self) -> u32 {
        self.serial += 1;
        self.serial
    }

    /// Writes a document; `deletable` is something of this user's that may go.
    pub(crate) fn write(&mut self, sort: Sort, user: usize, deletable: impl FnOnce() -> Uuid) -> Dropped {
        let serial = self.serial();
        let token = format!("{CANARY}-{serial}");
        let (external, updated) = (self.users[user].external.clone(), self.users[user].updated);
        let name = format!("Made {serial}");
        let create = document("create", &name, &external, &token);
        let made = |new_user| Wish::Made { name: name.clone(), new_user };
        let (wish, document) = match sort {
            Sort::Create | Sort::Sealed => (made(None), create),
            Sort::NewUser => {
                let mut document = create;
                let external = format!("new-{serial}");
                document["user"] = json!({ "externalUserId": external, "name": "A new one" });
                document["createUser"] = true.into();
                (made(Some(external)), document)
            }
            Sort::Upsert => {
                let name = format!("Upserted {} of {external}", serial % 3);
                self.upserted.insert(name.clone(), token.clone());
                (Wish::Upserted { name: name.clone() }, document("upsert", &name, &external, &token))
            }
            Sort::Part | Sort::Whole => {
                self.tokens.insert(updated, token.clone());
                let mut document = json!({
                    "version": 1, "action": "update", "authenticationId": updated,
                    "user": { "externalUserId": external }, "credentials": { "accessToken": token },
                });
                if sort == Sort::Whole {
                    document["name"] = "Updated".into();
                    document["userData"] = json!({});
                    document["scopes"] = json!([]);
                }
                (Wish::Updated { id: updated }, document)
            }
            Sort::Delete => {
                let id = deletable();
                let document = json!({
                    "version": 1, "action": "delete", "authenticationId": id, "confirm": true,
                    "user": { "externalUserId": external },
                });
                (Wish::Deleted { id }, document)
            }
            Sort::Schema => {
                let mut document = create;
                document["service"] = json!({ "name": "netsuite", "version": 1 });
                (Wish::Refused, document)
            }
            Sort::Copy => match self.original() {
                Some((name, content)) => return self.enter(serial, "json", Wish::Copied { name }, content),
                None => (made(None), create),
            },
            Sort::NotJson | Sort::Long => {
                let repeated = if sort == Sort::Long { 3_000 } else { 1 };
                let content = format!("{{ \"version\": 1, {}", token.repeat(repeated)).into_bytes();
                return self.enter(serial, "json", Wish::Refused, content);
            }
            Sort::Link => return self.enter(serial, "json", Wish::MovedAside, Vec::new()),
            Sort::Bulk => return self.write_lines(serial, user),
        };
        let extension = if sort == Sort::Sealed { "json.age" } else { "json" };
        self.enter(serial, extension, wish, document.to_string().into_bytes())
    }

    fn write_lines(&mut self, serial: u32, user: usize) -> Dropped {
        let mut lines = Vec::new();
        for sort in [Sort::Create, Sort::NotJson, Sort::Part, Sort::Schema, Sort::Upsert] {
            let other = (user + lines.len()) % self.users.len();
            let Dropped { wish, content, .. } = self.write(sort, other, Uuid::nil);
            self.dropped.pop();
            lines.push((wish, content));
        }
        let content = lines.iter().flat_map(|(_, line)| [&line[..], b"\n"].concat()).collect();
        self.enter(serial, "ndjson", Wish::Lines(lines), content)
    }

    /// An earlier create, and not always the last.
    fn original(&self) -> Option<(String, Vec<u8>)> {
        let creates = self.dropped.iter().filter_map(|dropped| match &dropped.wish {
            Wish::Made { name, .. } => Some((name.clone(), dropped.content.clone())),
            _ => None,
        });
        let creates: Vec<_> = creates.collect();
        let back = 1 + (self.serial as usize % 5).min(creates.len().checked_sub(1)?);
        creates.into_iter().nth_back(back - 1)
    }

    fn enter(&mut self, serial: u32, extension: &str, wish: Wish, content: Vec<u8>) -> Dropped {
        let dropped = Dropped { file: format!("{serial:05}.{extension}"), wish, content };
        self.dropped.push(dropped.clone());
        dropped
    }
}

fn document(action: &str, name: &str, external: &str, token: &str) -> Value {
    json!({
        "version": 1, "action": action, "name": name, "user": { "externalUserId": external },
        "service": { "name": "slack", "version": 2 }, "environment": "Production",
        "credentials": { "accessToken": token },
    })
}
