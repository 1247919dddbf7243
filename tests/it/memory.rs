//! Secrets do not linger. A daemon that has done all that it does, and is idle, holds none in memory that root can read,
//! nor in any file that it wrote: not what it pulled, took in and answered, no token, no passphrase, and no key.

#![expect(clippy::print_stdout, reason = "the counts are shown")]

mod keys;
pub(crate) mod process;

use std::{
    collections::BTreeMap,
    fs,
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use aho_corasick::AhoCorasick;
use serde_json::{Value, json};

use self::{
    keys::{AUDIT, EPOCH, FINGERPRINT, IDENTIFIERS, IDENTITY, Presented},
    process::Process,
};
use crate::support::{Daemon, House, OPEN};

/// How long the daemon has nothing to do before it is looked at.
const IDLE: Duration = Duration::from_secs(2);

const CREATED: &str = "canary-of-an-accepted-create-6f1d8a52c7e94b03";
/// How many pieces a long secret has, each of which is searched for: it is longer than what a cipher or a connection
/// works on at once.
const PIECES: usize = 400;
const REJECTED: &str = "canary-of-a-rejected-create-b93e07d45a1c4f68";
const UPDATED: &str = "canary-of-an-update-in-part-2c8f5e10d6a7493b";
const SEALED: &str = "canary-of-a-sealed-file-of-many-9d4e7b20c85f41a6";
const PLANNED: &str = "canary-of-a-document-only-planned-51c0f7a83be24d96";

const PASSPHRASE: &str = "correct horse battery staple, 41 magpies";

/// What an idle daemon has to have, in one copy each. Where the kernel has memory that not even root can read, it is there.
const HELD: [&str; 8] =
    ["master token", "api-user token", "root key", EPOCH, AUDIT, IDENTIFIERS, FINGERPRINT, IDENTITY];

/// The control: that what is in memory is found.
const CONTROL: &str = "control: the directory's path";

#[test]
fn nothing_lingers_of_a_vault_with_a_key_file() {
    let house = House::ready(OPEN);
    let key = fs::read(house.path("vault.key")).expect("a key file");
    nothing_lingers(&house, &Presented::KeyFile(&key));
}

#[test]
fn nothing_lingers_of_a_vault_with_a_passphrase() {
    let house = House::new(OPEN);
    house.private("passphrase", &format!("{PASSPHRASE}\n"));
    let configuration = fs::read_to_string(house.path("trayvault.toml")).expect("a configuration");
    let configuration = configuration.replace("key_file", "passphrase_file").replace("vault.key", "passphrase");
    fs::write(house.path("trayvault.toml"), configuration).expect("a configuration");
    house.succeeds(&["init"]);
    nothing_lingers(&house, &Presented::Passphrase(PASSPHRASE.as_bytes()));
}

fn nothing_lingers(house: &House, presented: &Presented<'_>) {
    let mut daemon = house.daemon();
    let process = match Process::open(daemon.pid()) {
        Ok(process) => process,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            assert!(std::env::var_os("TRAYVAULT_TESTS_AS_ROOT").is_none(), "this is not root: {error}");
            println!("not looked at: only root (CAP_SYS_PTRACE) may look into an undumpable process");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let connection = everything(house, &mut daemon);
    std::thread::sleep(IDLE);

    let needles = Needles::of(house, presented);
    let mut found = needles.in_memory(&process);
    assert!(found.hits.remove(CONTROL).is_some_and(|hits| hits > 0), "what is there is not found");
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).expect("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    assert_eq!(core.split_whitespace().rev().skip(1).take(2).collect::<Vec<_>>(), ["0", "0"]);
    drop(connection);

    // While it runs, with its write-ahead logs, and after it stopped.
    let mut written = needles.in_files(house);
    daemon.stop();
    written.extend(needles.in_files(house));

    println!("{found}");
    assert!(found.is_clean() && written.is_empty(), "secrets linger: {found}\nin files: {written:?}");
}

/// All that a daemon does with secrets. A connection whose caller has read its answer stays open.
fn everything(house: &House, daemon: &mut Daemon<'_>) -> UnixStream {
    house.sync();
    let salesforce = house.upstream("salesforce");
    let create = |service: &str, version: u32, credentials: Value| {
        json!({
            "version": 1, "action": "create", "name": "Dropped", "user": { "externalUserId": "acme-1" },
            "service": { "name": service, "version": version }, "environment": "Production", "credentials": credentials,
        })
    };
    let credentials = json!({ "accessToken": CREATED, "privateKey": (0..PIECES).map(piece).collect::<String>() });
    house.drop_file("created.json", &create("slack", 2, credentials));
    house.drop_file("rejected.json", &create("netsuite", 1, json!({ "tokenId": REJECTED })));
    let update = json!({
        "version": 1, "action": "update", "authenticationId": salesforce.id, "credentials": { "access_token": UPDATED },
    });
    house.drop_file("updated.json", &update);
    // Sealed, and many in one file, of which one is refused.
    let lines =
        [create("slack", 2, json!({ "accessToken": SEALED })), create("netsuite", 1, json!({ "tokenId": SEALED }))];
    let lines = lines.map(|line| line.to_string()).join("\n");
    let dropped = house.run_with_input(&["drop", "-", "--name", "many.ndjson"], lines.as_bytes());
    assert!(dropped.status.success(), "{}", String::from_utf8_lossy(&dropped.stderr));
    assert_eq!(daemon.outcome("done/many.ndjson.receipt.json")["rejected"], 1);
    assert!(house.succeeds(&["ingest", "show", "many.ndjson"]).contains(SEALED));
    let planned = create("slack", 2, json!({ "accessToken": PLANNED })).to_string();
    assert!(house.run_with_input(&["drop", "--plan", "-"], planned.as_bytes()).status.success());
    let created = daemon.outcome("done/created.json.receipt.json")["authenticationId"].clone();
    daemon.outcome("done/updated.json.receipt.json");
    daemon.outcome("rejected/rejected.json.reason.json");
    // Both are pulled at once.
    for (id, secret) in [(created.as_str().expect("an id"), CREATED), (&salesforce.id.to_string(), UPDATED)] {
        daemon.wait("the pull", || {
            let (_, answer) = house.get(&format!("/v1/authentications/{id}/full"));
            answer.to_string().contains(secret).then_some(())
        });
    }
    house.sync();
    // Unlocked a second time, on a thread that then waits, and in a new epoch.
    house.succeeds(&["lock"]);
    house.succeeds(&["unlock"]);
    house.succeeds(&["key", "rotate", "--wait"]);

    for one in house.world().authentications() {
        let path = format!("/v1/authentications/{}/full", one.id);
        assert_eq!(house.get(&path).0, 200);
        for (field, value) in one.credentials.as_object().expect("credentials") {
            let (_, answer) = house.get(&format!("{path}?field=/credentials/{field}"));
            assert_eq!(answer["value"], *value);
        }
    }
    assert_eq!(house.get("/v1/authentications").0, 200);
    let mut connection = UnixStream::connect(house.path("run/api.sock")).expect("a connection");
    let request = format!("GET /v1/authentications/{}/full HTTP/1.1\r\nHost: t\r\n\r\n", salesforce.id);
    connection.write_all(request.as_bytes()).expect("a request");
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains(UPDATED) {
        let mut part = [0; 4096];
        let read = connection.read(&mut part).expect("an answer");
        assert!(read > 0, "the answer ended");
        answer.extend_from_slice(&part[..read]);
    }
    connection
}

/// What is searched for. A secret's two halves, so that one of which half was overwritten is found as well.
struct Needles {
    kinds: Vec<String>,
    search: AhoCorasick,
}

impl Needles {
    fn of(house: &House, presented: &Presented<'_>) -> Self {
        let mut secrets = keys::of_vault(house, presented);
        secrets.push(match presented {
            Presented::KeyFile(key) => ("key file".to_owned(), key.to_vec()),
            Presented::Passphrase(text) => ("passphrase".to_owned(), text.to_vec()),
        });
        let canaries = [
            ("accepted create", CREATED),
            ("rejected create", REJECTED),
            ("update in part", UPDATED),
            ("sealed file of many", SEALED),
            ("document only planned", PLANNED),
        ];
        secrets.extend(canaries.map(|(kind, text)| (kind.to_owned(), text.into())));
        secrets.extend((0..PIECES).map(|nth| ("piece of a long secret".to_owned(), piece(nth).into_bytes())));
        secrets.extend(house.world().secrets().into_iter().map(|secret| (kind(&secret), secret.into_bytes())));
        assert!(secrets.len() > PIECES + 30, "{}", secrets.len());

        let halves = secrets.iter().flat_map(|(kind, secret)| {
            let (head, tail) = secret.split_at(secret.len() / 2);
            [(kind.clone(), head.to_vec()), (kind.clone(), tail.to_vec())]
        });
        let directory = house.path("state").into_os_string().into_encoded_bytes();
        let (kinds, needles): (_, Vec<_>) = halves.chain([(CONTROL.to_owned(), directory)]).unzip();
        Self { kinds, search: AhoCorasick::new(needles).expect("needles") }
    }

    /// Each needle's kind and offset, in the order in which they come.
    fn search<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = (&'a str, usize)> {
        self.search.find_iter(bytes).map(|hit| (self.kinds[hit.pattern().as_usize()].as_str(), hit.start()))
    }

    /// Searches whatever the process has mapped.
    fn in_memory(&self, process: &Process) -> Found {
        let mut found = Found { hits: self.kinds.iter().map(|kind| (kind.clone(), 0)).collect(), ..Found::default() };
        let threads = process.threads();
        for mapping in process.mappings() {
            let content = process.read(&mapping);
            found.searched += mapping.len() - content.unreadable;
            found.out_of_reach += content.unreadable;
            let expected = if mapping.is_secret() { mapping.len() } else { 0 };
            assert_eq!(content.unreadable, expected, "unreadable: {}", mapping.place(mapping.range.start, &threads));
            for (kind, offset) in self.search(&content.bytes) {
                *found.hits.entry(kind.to_owned()).or_default() += 1;
                if kind != CONTROL {
                    let place = mapping.place(mapping.range.start + offset as u64, &threads);
                    found.places.push(format!("{kind}: {place}"));
                }
            }
        }
        found
    }

    /// The files that the daemon wrote and that hold something, and core files.
    fn in_files(&self, house: &House) -> Vec<String> {
        let given = ["master.token", "api-user.token", "vault.key", "passphrase", "trayvault.toml"];
        let files = house.files().into_iter().filter(|path| !given.iter().any(|name| path.ends_with(name)));
        let mut found = Vec::new();
        let mut searched = 0;
        for path in files {
            let content = fs::read(&path).expect("a file");
            searched += 1;
            let hits = self.search(&content).filter(|(kind, _)| *kind != CONTROL);
            found.extend(hits.map(|(kind, offset)| format!("{kind}: {}, at {offset}", path.display())));
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("core")) {
                found.push(format!("a core file: {}", path.display()));
            }
        }
        assert!(searched > 6, "{searched} files");
        println!("{searched} files searched: {} hits", found.len());
        found
    }
}

/// A part of a long secret: 32 bytes.
fn piece(nth: usize) -> String {
    format!("<long-secret-{nth:04}>{:08x}.{nth:04}/", nth * 0x9e37_79b9 % 0xffff_ffff)
}

/// Which secret of the emulator's it is.
fn kind(secret: &str) -> String {
    let kind = secret.trim_start_matches(trayvault::emulator::SECRET_MARK).rsplit_once('-').expect("a kind").0;
    let is_token = ["master", "api-user", "personal"].contains(&kind);
    if is_token { format!("{kind} token") } else { kind.to_owned() }
}

/// What was found in memory.
#[derive(Default)]
struct Found {
    /// The halves of each kind of secret.
    hits: BTreeMap<String, usize>,
    places: Vec<String>,
    /// In bytes.
    searched: usize,
    /// In bytes: what the daemon put where not even root can read it.
    out_of_reach: usize,
}

impl Found {
    /// Whether there is nothing but what has to be there: on a kernel without memory that is out of root's reach, one
    /// copy of what an idle daemon has to have.
    fn is_clean(&self) -> bool {
        self.hits.iter().all(|(kind, hits)| {
            let is_held = self.out_of_reach == 0 && HELD.contains(&kind.as_str());
            *hits <= if is_held { 2 } else { 0 }
        })
    }
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} bytes searched, {} out of reach; halves found:", self.searched, self.out_of_reach)?;
        self.hits.iter().try_for_each(|(kind, hits)| writeln!(f, "{hits:6} {kind}"))?;
        self.places.iter().try_for_each(|place| writeln!(f, "       {place}"))
    }
}
