//! Compares files, journal, receipts and Tray: whether every dropped document has come to the one end that it may have.

use std::{collections::BTreeSet, fs};

use hyper::Method;
use serde_json::Value;
use trayvault::emulator::Creation;
use uuid::Uuid;

use crate::{
    ledger::{CANARY, Dropped, Wish},
    site::Site,
};

/// Checks everything, with a daemon that runs and is at rest.
pub(crate) fn check(site: &mut Site) {
    let new = site.ledger.dropped[site.ledger.settled..].to_vec();
    settle_held(site, &new);
    for dropped in &new {
        let ends = Ends { site, file: &dropped.file, creations: site.house.world().creations() };
        for outcome in ends.of(dropped) {
            site.figures.ended(&outcome);
        }
    }
    site.ledger.settled += new.len();
    nothing_is_left_over(site);
    the_last_one_won(site);
    nothing_is_in_the_clear(site);
    let verified = site.house.run(&["audit", "verify"]);
    assert!(verified.status.success(), "{}: {}", site.story, String::from_utf8_lossy(&verified.stderr));
}

/// What has a twin is held, and nothing else is; a person then says which one it is.
fn settle_held(site: &mut Site, new: &[Dropped]) {
    let unfinished = site.unfinished().expect("the daemon answers");
    let Some(twin) = site.twin.take() else {
        assert!(unfinished.is_empty(), "{}: held without need: {unfinished:?}", site.story);
        return;
    };
    let [held] = &unfinished[..] else { panic!("{}: what has a twin is held: {unfinished:?}", site.story) };
    let file = new.iter().find(|one| matches!(&one.wish, Wish::Made { name, .. } if *name == twin));
    assert_eq!((&held["state"], held["file"].as_str()), (&"held".into(), file.map(|one| &one.file[..])));
    assert_eq!(held["candidates"].as_array().map(Vec::len), Some(2), "{}: {held}", site.story);
    let made = site.house.world().creations().into_iter().find(|one| one.name == twin).expect("it was made");
    let intent = held["intent"].as_str().expect("an id");
    let path = format!("/v1/ingest/{intent}/adopt?authentication={}", made.id);
    let (status, answer) = site.house.ask(Method::POST, &path);
    assert_eq!(status, 200, "{}: {answer}", site.story);
    site.figures.ended("held");
}

struct Ends<'a> {
    site: &'a Site,
    file: &'a str,
    creations: Vec<Creation>,
}

impl Ends<'_> {
    /// The outcomes of a file's documents, each of which is right.
    fn of(&self, dropped: &Dropped) -> Vec<String> {
        match &dropped.wish {
            Wish::Refused => {
                self.is_refused(&dropped.content);
                vec!["rejected".to_owned()]
            }
            Wish::MovedAside => {
                self.note("rejected", "reason");
                let path = self.site.house.path(&format!("drop/rejected/{}", self.file));
                self.is(path.is_symlink(), "it is moved aside");
                vec!["moved aside".to_owned()]
            }
            Wish::Lines(lines) => self.of_lines(lines),
            wish => vec![self.of_document(wish, &self.note("done", "receipt"))],
        }
    }

    fn of_lines(&self, lines: &[(Wish, Vec<u8>)]) -> Vec<String> {
        let receipt = self.note("done", "receipt");
        let notes = receipt["lines"].as_array().expect("lines");
        self.is(notes.len() == lines.len(), "every line has its outcome");
        let ended = lines.iter().zip(notes).zip(1..).map(|(((wish, _), note), number)| {
            self.is(note["line"] == number, "the lines are in their order");
            if let Wish::Refused = wish {
                self.is(note["outcome"] == "rejected", "a line that is no document is rejected");
                "rejected".to_owned()
            } else {
                self.of_document(wish, note)
            }
        });
        let ended = ended.collect();
        let refused = lines.iter().filter(|(wish, _)| matches!(wish, Wish::Refused));
        let refused: Vec<u8> = refused.flat_map(|(_, line)| [&line[..], b"\n"].concat()).collect();
        self.is_refused(&refused);
        ended
    }

    /// A document that is accepted.
    fn of_document(&self, wish: &Wish, note: &Value) -> String {
        let outcome = note["outcome"].as_str().expect("an outcome");
        let id: Uuid = note["authenticationId"].as_str().and_then(|id| id.parse().ok()).expect("an id");
        let is_there = self.site.house.world().authentication(id).is_some();
        match wish {
            Wish::Made { name, new_user } => {
                self.is(["created", "adopted"].contains(&outcome), "it is made");
                self.is(self.made(name) == [id] && is_there, "it is made once, and the receipt says which it is");
                if let Some(external) = new_user {
                    let users = self.site.house.world().users();
                    let count = users.iter().filter(|user| user.external_user_id == *external).count();
                    self.is(count == 1, "there is one end user");
                }
            }
            Wish::Upserted { name } => {
                self.is(["created", "adopted", "updated"].contains(&outcome), "it is made or changed");
                self.is(self.made(name) == [id] && is_there, "it is made once, however often it is dropped");
            }
            Wish::Updated { id: updated } => {
                self.is(outcome == "updated" && id == *updated && is_there, "it is changed");
            }
            Wish::Deleted { id: deleted } => {
                self.is(outcome == "deleted" && id == *deleted && !is_there, "it is gone");
            }
            Wish::Copied { name } => {
                self.is(outcome == "duplicate" && self.made(name) == [id], "a copy is not done again");
            }
            Wish::Refused | Wish::MovedAside | Wish::Lines(_) => unreachable!("they are no documents"),
        }
        outcome.to_owned()
    }

    /// What was made under a name.
    fn made(&self, name: &str) -> Vec<Uuid> {
        self.creations.iter().filter(|one| one.name == name).map(|one| one.id).collect()
    }

    /// It has its reason, and comes back byte for byte.
    fn is_refused(&self, content: &[u8]) {
        self.note("rejected", "reason");
        let shown = self.site.house.run(&["ingest", "show", self.file]);
        self.is(shown.status.success(), &String::from_utf8_lossy(&shown.stderr));
        self.is(shown.stdout == content, "what is rejected is what was dropped");
    }

    /// A receipt or a reason.
    fn note(&self, directory: &str, what: &str) -> Value {
        let path = format!("drop/{directory}/{}.{what}.json", self.file);
        let note = fs::read(self.site.house.path(&path));
        self.is(note.is_ok(), &format!("there is {path}"));
        serde_json::from_slice(&note.expect("it is there")).expect("JSON")
    }

    #[track_caller]
    fn is(&self, holds: bool, what: &str) {
        if !holds {
            let file = self.file;
            let left: Vec<_> = ["done", "rejected"]
                .iter()
                .flat_map(|directory| self.site.names(&format!("drop/{directory}")))
                .filter(|name| name.contains(file))
                .collect();
            let notes = left.iter().filter_map(|name| {
                let path = |directory| self.site.house.path(&format!("drop/{directory}/{name}"));
                // What is rejected is sealed, and no text.
                fs::read_to_string(path("done")).or_else(|_| fs::read_to_string(path("rejected"))).ok()
            });
            let notes: String = notes.collect();
            panic!("{}: {file}: not so: {what}\n{left:?}\n{notes}\n{}", self.site.story, self.site.log());
        }
    }
}

/// Every outcome is one that is expected, and there is no other file, of whatever name.
fn nothing_is_left_over(site: &Site) {
    let mut expected = BTreeSet::new();
    for Dropped { file, wish, .. } in &site.ledger.dropped {
        let is_refused = matches!(wish, Wish::Refused | Wish::MovedAside | Wish::Lines(_));
        if !matches!(wish, Wish::Refused | Wish::MovedAside) {
            expected.insert(format!("done/{file}.receipt.json"));
        }
        if is_refused {
            expected.extend([format!("rejected/{file}"), format!("rejected/{file}.reason.json")]);
        }
    }
    let directories = ["done", "rejected", ".claimed", "tmp"];
    let found = directories.iter().flat_map(|directory| {
        site.names(&format!("drop/{directory}")).into_iter().map(move |name| format!("{directory}/{name}"))
    });
    let found: BTreeSet<_> = found.collect();
    let (over, under): (Vec<_>, Vec<_>) =
        (found.difference(&expected).collect(), expected.difference(&found).collect());
    assert!(over.is_empty() && under.is_empty(), "{}: over {over:?}, missing {under:?}\n{}", site.story, site.log());
}

/// Of updates the last one in order of arrival.
fn the_last_one_won(site: &Site) {
    let world = site.house.world();
    for (id, token) in &site.ledger.tokens {
        let held = world.authentication(*id).expect("it is there").credentials;
        assert_eq!(held["accessToken"], **token, "{}: the last update of {id} won\n{}", site.story, site.log());
    }
    let all = world.authentications();
    for (name, token) in &site.ledger.upserted {
        let held = &all.iter().find(|one| one.name == *name).expect("it is there").credentials;
        assert_eq!(held["accessToken"], **token, "{}: the last upsert of {name} won\n{}", site.story, site.log());
    }
}

fn nothing_is_in_the_clear(site: &Site) {
    let searched = aho_corasick::AhoCorasick::new([CANARY]).expect("a search");
    for path in site.house.files() {
        // What is gone again was temporary.
        let Ok(content) = fs::read(&path) else { continue };
        assert!(!searched.is_match(&content), "{}: in the clear: {}", site.story, path.display());
    }
}
