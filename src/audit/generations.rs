//! The generations of the databases, by which a database that was rolled back is told: each entry carries those that were
//! on stable storage when it was written.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use serde::Deserialize;

/// Where the databases tell theirs. Cheap to clone.
#[derive(Clone, Default)]
pub struct Generations {
    /// The cache's.
    pub cache: Arc<AtomicU64>,
    /// The journal's.
    pub journal: Arc<AtomicU64>,
    /// The epoch of the vault's header.
    epoch: Arc<AtomicU32>,
}

/// The generations at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Anchored {
    /// The cache's.
    pub cache: u64,
    /// The journal's.
    pub journal: u64,
    /// The epoch of the vault's header.
    pub epoch: u32,
}

impl Generations {
    /// Goes on from what was read in the log.
    pub(super) fn from(anchored: Anchored) -> Self {
        Self {
            cache: Arc::new(anchored.cache.into()),
            journal: Arc::new(anchored.journal.into()),
            epoch: Arc::new(anchored.epoch.into()),
        }
    }

    /// Another process has recorded these.
    pub(super) fn reached(&self, anchored: Anchored) {
        self.cache.fetch_max(anchored.cache, Ordering::Relaxed);
        self.journal.fetch_max(anchored.journal, Ordering::Relaxed);
        self.reached_epoch(anchored.epoch);
    }

    /// An epoch has begun.
    pub fn reached_epoch(&self, epoch: u32) {
        self.epoch.fetch_max(epoch, Ordering::Relaxed);
    }

    /// An earlier epoch was accepted.
    pub fn set_epoch(&self, epoch: u32) {
        self.epoch.store(epoch, Ordering::Relaxed);
    }

    /// What has been told so far.
    pub fn now(&self) -> Anchored {
        Anchored {
            cache: self.cache.load(Ordering::Relaxed),
            journal: self.journal.load(Ordering::Relaxed),
            epoch: self.epoch.load(Ordering::Relaxed),
        }
    }
}
