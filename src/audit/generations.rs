//! The generations of the databases, by which a database that was rolled back is told: each entry carries those that were
//! on stable storage when it was written.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use serde::{Deserialize, Serialize};

/// Where the databases tell theirs. Cheap to clone.
#[derive(Clone, Default)]
pub struct Generations {
    /// The cache's.
    pub cache: Arc<AtomicU64>,
    /// The journal's.
    pub journal: Arc<AtomicU64>,
}

/// The generations at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Anchored {
    /// The cache's.
    pub cache: u64,
    /// The journal's.
    pub journal: u64,
}

impl Generations {
    /// Goes on from what was read in the log.
    pub(super) fn from(anchored: Anchored) -> Self {
        Self { cache: Arc::new(anchored.cache.into()), journal: Arc::new(anchored.journal.into()) }
    }

    /// Another process has recorded these.
    pub(super) fn reached(&self, anchored: Anchored) {
        self.cache.fetch_max(anchored.cache, Ordering::Relaxed);
        self.journal.fetch_max(anchored.journal, Ordering::Relaxed);
    }

    /// What has been told so far.
    pub fn now(&self) -> Anchored {
        Anchored { cache: self.cache.load(Ordering::Relaxed), journal: self.journal.load(Ordering::Relaxed) }
    }
}
