//! What the benches share: a vault with authentications that look like Tray's, a daemon and a Tray for it, and the
//! arithmetic of a comparison.
//!
//! Plain SQLite, trayvault's cache and SQLCipher run in one process and on one library: SQLCipher without a key is
//! plain SQLite, and the cache is told nothing of it. So what differs between them is the sealing, not the build.

pub mod drops;
pub mod house;
pub mod load;

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::runtime::Runtime;
use trayvault::{
    authentication::{
        AuthenticationId, Environment, ExternalUserId, Metadata, Owner, Service, ServiceEnvironmentId, UserId,
    },
    config::Config,
    emulator::Limit,
    secret::SecretBytes,
    unlock,
    vault::{Cache, Continuity, Keyring, Locked, Write},
};
use uuid::Uuid;

use self::house::House;

/// The length of every secret body, in bytes.
pub const BODY_LEN: usize = 1024;

const SERVICES: [&str; 10] = [
    "salesforce",
    "slack",
    "hubspot",
    "zendesk",
    "netsuite",
    "google-sheets",
    "microsoft-teams",
    "jira",
    "shopify",
    "stripe",
];

/// Authentications, the same ones at every run: numbered, spread over owners and services.
pub struct Corpus {
    ids: Vec<AuthenticationId>,
    owners: usize,
}

impl Corpus {
    /// `len` authentications of `owners` end users. The ids are random ones, in no order, as Tray's are.
    pub fn new(len: usize, owners: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(1);
        let mut id = || AuthenticationId(uuid::Builder::from_random_bytes(random.u128(..).to_be_bytes()).into_uuid());
        Self { ids: (0..len).map(|_| id()).collect(), owners }
    }

    /// All ids, by number.
    pub fn ids(&self) -> &[AuthenticationId] {
        &self.ids
    }

    /// Who owns an authentication.
    pub fn owner(&self, number: usize) -> Owner {
        let user = number % self.owners;
        Owner::EndUser {
            user_id: UserId(Uuid::from_u64_pair(0x5bd1_e995_0000_4000, 1 << 63 | user as u64).to_string()),
            external_user_id: ExternalUserId(format!("customer-{user:06}")),
        }
    }

    /// Which service it is for.
    pub fn service(&self, number: usize) -> &'static str {
        // Not in step with the owners, or each of them would have one service only.
        SERVICES[(number / self.owners + number) % SERVICES.len()]
    }

    /// What Tray lists of it.
    pub fn metadata(&self, number: usize) -> Metadata {
        let service = self.service(number);
        Metadata {
            id: self.ids[number],
            name: format!("{service} of customer {number}"),
            owner: self.owner(number),
            service: Some(Service { name: service.to_owned(), version: "4.2".to_owned() }),
            scopes: None,
            environment: Some(Environment {
                id: ServiceEnvironmentId(Uuid::from_u64_pair(0xc0ff_ee00_0000_4000, 1 << 63).to_string()),
                title: "Production".to_owned(),
            }),
        }
    }

    /// What Tray answers to a full read of it: [`BODY_LEN`] bytes of JSON, nearly all of them an access token.
    pub fn body(&self, number: usize) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(number as u64);
        let head = format!("{{\"id\":\"{}\",\"credentials\":{{\"access_token\":\"", self.ids[number]);
        let mut body = head.into_bytes();
        body.resize_with(BODY_LEN - 3, || random.alphanumeric() as u8);
        body.extend_from_slice(b"\"}}");
        body
    }

    /// Lists and pulls all of them, `batch` in a transaction, in the order of their numbers.
    pub fn fill(&self, cache: &Cache, batch: usize) {
        let runtime = runtime();
        let numbers: Vec<usize> = (0..self.ids.len()).collect();
        for numbers in numbers.chunks(batch) {
            let writes = numbers.iter().flat_map(|number| self.writes(*number)).collect();
            runtime.block_on(cache.write(writes)).expect("a batch is written");
        }
    }

    fn writes(&self, number: usize) -> [Write; 2] {
        // Fresh enough for the daemon to answer it.
        let at = Timestamp::now();
        [
            Write::Listed { metadata: self.metadata(number), at },
            Write::Pulled {
                id: self.ids[number],
                asked_in: u64::MAX,
                body: SecretBytes::new(self.body(number)),
                fetched_at: at,
                expires_at: None,
            },
        ]
    }
}

/// A cache that is new, or that nobody has rolled back.
pub fn open(path: &Path, keyring: &Arc<Keyring>) -> Cache {
    Cache::open(path, Arc::clone(keyring), Continuity::default(), Arc::default()).expect("a cache")
}

/// A house's cache, as its daemon opens it.
pub fn open_vault(house: &House) -> Cache {
    let config = Config::load(&house.path("trayvault.toml")).expect("a configuration");
    let key = unlock::key(&config.vault.unlock).expect("a key");
    let unlocked = Locked::open(&config.state_directory).and_then(|vault| vault.unlock(&key)).expect("a vault");
    open(&house.path("state/cache.db"), &unlocked.into_keyring())
}

/// What the cache's writes are awaited on.
pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
}

/// The size of a file that is there.
pub fn file_len(path: &Path) -> u64 {
    fs::metadata(path).expect("a file").len()
}

/// The fastest of many rounds each, the contestants taking turns: what else the machine does while one of them runs
/// disturbs the others as much, and the fastest round least of all.
pub fn compare<const N: usize>(rounds: usize, mut contestants: [&mut dyn FnMut(); N]) -> [Duration; N] {
    let mut fastest = [Duration::MAX; N];
    for _ in 0..rounds {
        for (contestant, fastest) in contestants.iter_mut().zip(&mut fastest) {
            let start = Instant::now();
            contestant();
            *fastest = start.elapsed().min(*fastest);
        }
    }
    fastest
}

/// How many times `right` fits into `left`.
pub fn ratio(left: Duration, right: Duration) -> f64 {
    left.as_secs_f64() / right.as_secs_f64()
}

/// The most requests that a client can send in so much time: all of the burst, then the steady rate, as far as each
/// minute has room.
pub fn permitted(limit: Limit, time: Duration) -> f64 {
    let seconds = time.as_secs_f64();
    let minutes = (seconds / 60.0).floor();
    let since = seconds - 60.0 * minutes;
    let per_minute = f64::from(limit.per_minute);
    minutes * per_minute + (f64::from(limit.burst) + f64::from(limit.per_second) * since).min(per_minute)
}
