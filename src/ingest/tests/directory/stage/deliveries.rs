//! What is dropped, and how.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink},
    time::{Duration, SystemTime},
};

use proptest::sample::Index;
use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    super::{
        super::CANARY,
        model::{Delivered, End, What},
        operations::{Delivery, Hostile, Invalid, Line, Sealing},
    },
    Stage, Writer, pause,
};

impl Stage {
    pub(super) fn deliver(&mut self, delivery: Delivery, earlier: Option<Index>) {
        let (mut name, text, sealing) = match delivery {
            Delivery::Lines(lines) => {
                let name = self.named(earlier, "ndjson");
                return self.deliver_lines(&name, &lines);
            }
            Delivery::Create { owner, sealing } => {
                let (name, delivered, created) = self.create(owner);
                self.model.created[owner].push(created);
                (name, delivered, sealing)
            }
            Delivery::Update { owner, sealing } => {
                let name = self.name("json");
                let token = format!("{CANARY}-{name}");
                let text = json!({
                    "version": 1, "action": "update", "authenticationId": self.updated[owner], "user": self.user(owner),
                    "credentials": {"access_token": token},
                });
                (name, Delivered { text: text.to_string(), what: What::Update { owner, token } }, sealing)
            }
            Delivery::Delete { owner } => {
                let id = self.in_tray(owner);
                self.deleted.push(id);
                let text = json!({
                    "version": 1, "action": "delete", "authenticationId": id, "user": self.user(owner), "confirm": true,
                });
                (self.name("json"), Delivered { text: text.to_string(), what: What::Delete }, Sealing::Clear)
            }
            Delivery::Invalid(invalid) => {
                let (text, kind) = self.invalid(invalid);
                (self.name("json"), Delivered { text, what: What::Rejected { kind } }, Sealing::Clear)
            }
        };
        if earlier.is_some() {
            name = self.named(earlier, "json");
        }
        self.put(&name, &text.text, sealing);
        self.model.first(&name, text);
    }

    fn deliver_lines(&mut self, name: &str, lines: &[Line]) {
        let (mut text, mut ends, mut kinds) = (String::new(), Vec::new(), Vec::new());
        for line in lines {
            match *line {
                Line::Create { owner } => {
                    let (_, Delivered { text: document, .. }, created) = self.create(owner);
                    self.model.created[owner].push(created);
                    text += &document;
                    ends.push("created".to_owned());
                }
                Line::Invalid(invalid) => {
                    let (document, kind) = self.invalid(invalid);
                    text += &document;
                    ends.push("rejected".to_owned());
                    kinds.push(kind);
                }
                Line::Blank => text += "  ",
            }
            text.push('\n');
        }
        self.put(name, &text, Sealing::Clear);
        if ends.is_empty() {
            self.model.outcomes.push((name.to_owned(), End::Reason("document".to_owned())));
            return;
        }
        if !kinds.is_empty() {
            self.model.outcomes.push((name.to_owned(), End::Reason(kinds.join(" "))));
        }
        self.model.outcomes.push((name.to_owned(), End::Lines(ends)));
    }

    /// A create of an owner's: a name for its file, the document, and what it creates.
    pub(super) fn create(&mut self, owner: usize) -> (String, Delivered, String) {
        let name = self.name("json");
        let created = format!("made by {name}");
        let mut document = self.host.create_document(&created);
        document["user"] = self.user(owner);
        (name, Delivered { text: document.to_string(), what: What::Create }, created)
    }

    /// A document that is rejected, and what kind of reason it gets.
    fn invalid(&mut self, invalid: Invalid) -> (String, &'static str) {
        let name = self.name("json");
        let mut document = self.host.create_document(&name);
        match invalid {
            Invalid::Torn => {
                let mut text = document.to_string();
                text.pop();
                return (text, "document");
            }
            Invalid::UnknownKey => document["credentialz"] = json!(CANARY),
            Invalid::Schema => document["credentials"] = json!({"access_token": 7, "refresh_token": CANARY}),
            Invalid::UnknownService => document["service"]["name"] = json!(CANARY),
            Invalid::UnknownAuthentication => {
                document = json!({
                    "version": 1, "action": "update", "authenticationId": Uuid::new_v4(), "user": self.user(0),
                    "credentials": {"access_token": CANARY},
                });
            }
        }
        let kind = match invalid {
            Invalid::Torn | Invalid::UnknownKey => "document",
            Invalid::Schema => "schema",
            Invalid::UnknownService | Invalid::UnknownAuthentication => "unresolved",
        };
        (document.to_string(), kind)
    }

    pub(super) fn begin_in_place(&mut self) {
        let (name, delivered, created) = self.create(0);
        let path = self.place().join(&name);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).expect("made");
        let (head, rest) = delivered.text.split_at(40);
        file.write_all(head.as_bytes()).expect("written");
        self.writers.push(Writer { file, rest: rest.to_owned() });
        self.model.outcomes.push((name, End::Receipt("created".to_owned())));
        self.model.created_in_place.push(created);
    }

    pub(super) fn end_in_place(&mut self, number: usize) {
        let Writer { mut file, rest } = self.writers.swap_remove(number);
        let (middle, tail) = rest.split_at(rest.len() / 2);
        for piece in [middle, tail] {
            file.write_all(piece.as_bytes()).expect("written");
            pause(10);
        }
    }

    pub(super) fn drop_hostile(&mut self, hostile: Hostile) {
        let name = self.name("json");
        let (path, outside) = (self.place().join(&name), self.host.dir.path().join("outside"));
        fs::write(&outside, "not to be read").expect("written");
        match hostile {
            Hostile::Symlink => symlink(&outside, path).expect("linked"),
            Hostile::Fifo => mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("made"),
            Hostile::Directory => fs::create_dir(path).expect("made"),
            Hostile::HardLink => fs::hard_link(&outside, path).expect("linked"),
            Hostile::GroupWritable => self.rename_into_place(&name, CANARY.as_bytes(), 0o620),
            Hostile::TooLarge => self.rename_into_place(&name, CANARY.repeat(100_000).as_bytes(), 0o600),
        }
        self.model.outcomes.push((name, End::Reason("file".to_owned())));
    }

    pub(super) fn put(&self, name: &str, text: &str, sealing: Sealing) {
        let sealed;
        let content = match sealing {
            Sealing::Clear => text.as_bytes(),
            Sealing::Sealed => {
                sealed = self.host.cache.keyring().recipient().seal(text.as_bytes()).expect("sealed");
                &sealed
            }
        };
        self.rename_into_place(name, content, 0o600);
    }

    fn rename_into_place(&self, name: &str, content: &[u8], mode: u32) {
        let place = self.place();
        let hidden = place.join(format!(".{name}"));
        fs::write(&hidden, content).expect("written");
        fs::set_permissions(&hidden, fs::Permissions::from_mode(mode)).expect("set");
        // What holds no document is waited for as long as it is young.
        let old = SystemTime::now() - Duration::from_secs(10);
        File::options().write(true).open(&hidden).and_then(|file| file.set_modified(old)).expect("set");
        renameat_with(CWD, hidden, CWD, place.join(name), RenameFlags::NOREPLACE).expect("delivered");
    }

    /// A name that no other had; later ones are greater, so that they are in order where the clock does not tell.
    pub(super) fn name(&mut self, extension: &str) -> String {
        self.names += 1;
        format!("{:04}.{extension}", self.names)
    }

    /// An earlier name that is free at the top level, or a new one.
    fn named(&mut self, earlier: Option<Index>, extension: &str) -> String {
        let names = self.model.outcomes.iter().map(|(name, _)| name.clone());
        let free: Vec<_> = names
            .filter(|name| name.ends_with(&format!(".{extension}")))
            .filter(|name| fs::symlink_metadata(self.host.drop().join(name)).is_err())
            .collect();
        match earlier {
            Some(pick) if !free.is_empty() => {
                // A tick of the clock that stamps files.
                pause(20);
                pick.get(&free).clone()
            }
            _ => self.name(extension),
        }
    }

    fn user(&self, owner: usize) -> Value {
        json!({"externalUserId": self.host.emulator.world().users()[owner].external_user_id})
    }
}
