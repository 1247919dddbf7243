//! The log as whoever verifies it meets it.

mod chain;
mod documents;
mod edits;
mod segments;

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::*;
use crate::{authentication::AuthenticationId, crypto::random_key, secret::Key};

/// A log, and the key that it is verified with.
struct Fixture {
    directory: TempDir,
    key: Key,
}

impl Fixture {
    fn new() -> Self {
        let fixture = Self { directory: tempfile::tempdir().unwrap(), key: random_key().unwrap() };
        AuditLog::create(fixture.path(), fixture.key.duplicate()).unwrap();
        fixture
    }

    /// With so many entries.
    fn with_entries(entries: u64) -> Self {
        let fixture = Self::new();
        fixture.open(Config::default()).fill(entries - 1);
        fixture
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn file(&self) -> PathBuf {
        self.path().join(FILE_NAME)
    }

    fn open(&self, config: Config) -> AuditLog {
        AuditLog::open(self.path(), self.key.duplicate(), config).unwrap()
    }

    fn verify(&self, anchors: &[Anchor]) -> Verdict {
        verify(&self.key, self.path(), anchors, &|_, _| {}).unwrap()
    }

    /// The fault, and in which line of which file.
    fn fault(&self, anchors: &[Anchor]) -> (String, u64, Fault) {
        match self.verify(anchors) {
            Verdict::Broken { at, fault, .. } => (at.file, at.line, fault),
            Verdict::Intact(found) => panic!("intact: {found:?}"),
        }
    }

    fn found(&self) -> Found {
        match self.verify(&[]) {
            Verdict::Intact(found) => found,
            broken @ Verdict::Broken { .. } => panic!("{broken:?}"),
        }
    }

    fn lines(&self) -> Vec<String> {
        fs::read_to_string(self.file()).unwrap().split_inclusive('\n').map(str::to_owned).collect()
    }

    fn write(&self, lines: &[String]) {
        fs::write(self.file(), lines.concat()).unwrap();
    }
}

impl AuditLog {
    fn fill(&self, entries: u64) {
        for number in 0..entries {
            self.record(&event(number)).unwrap();
        }
    }
}

fn event(number: u64) -> Event {
    let id = AuthenticationId(uuid::Uuid::from_u128(number.into()));
    let target = Target { authentication: Some(id), name: Some(format!("name {number}")), ..Target::default() };
    let actor = Actor { uid: 1_000, gid: 1_000, unit: Some("billing.service".to_owned()) };
    let event = Event::new(Action::Read, Outcome::Done).on(target).by(actor).under(Some("billing reads"));
    event.request(uuid::Uuid::from_u128(number.into()))
}

/// Segments of some entries each.
fn small() -> Config {
    Config { segment_size: 8 * 1024, ..Config::default() }
}
