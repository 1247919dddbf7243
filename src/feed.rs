//! What happens, as it happens: for whoever listens on the socket. Metadata only.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::broadcast;

use crate::{
    authentication::{AuthenticationId, Metadata},
    tray::Circuit,
    vault::GoneReason,
};

/// Notices that a listener may be behind. One that is further behind is told how many it missed.
const BACKLOG: usize = 1024;

/// Where notices go. Cheap to clone.
#[derive(Clone)]
pub struct Feed(broadcast::Sender<Arc<Notice>>);

/// Something that happened.
#[derive(Debug, Serialize)]
pub struct Notice {
    /// When.
    pub at: Timestamp,
    /// What it happened to; none where it is Tray itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Metadata>,
    /// What.
    #[serde(flatten)]
    pub what: Happening,
}

/// What may happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Happening {
    /// It was read in full for the first time, or for the first time again.
    Pulled {
        /// Its revision now.
        revision: u64,
    },
    /// It was read in full again, and is as it was.
    Refreshed {
        /// Its revision now.
        revision: u64,
    },
    /// It was read in full again and is different, or its metadata are.
    Changed {
        /// Its revision now; none where only metadata changed.
        #[serde(skip_serializing_if = "Option::is_none")]
        revision: Option<u64>,
    },
    /// It is gone, and what was held is destroyed; or it is not answered any more.
    Removed {
        /// Why it is gone; none where Tray refuses its principal, or policy permits it no more.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<GoneReason>,
    },
    /// A dropped document came to its end.
    Ingest {
        /// What was done: `created`, `adopted`, `updated`, `deleted`, `duplicate`, `rejected` or `held`.
        outcome: &'static str,
        /// What it was done to, if it was done.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<AuthenticationId>,
    },
    /// A host of Tray's answers again, or does not any more.
    Tray {
        /// Which.
        host: String,
        /// The circuit to it.
        circuit: Circuit,
    },
}

impl Happening {
    /// The name of the event, as in its text.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pulled { .. } => "pulled",
            Self::Refreshed { .. } => "refreshed",
            Self::Changed { .. } => "changed",
            Self::Removed { .. } => "removed",
            Self::Ingest { .. } => "ingest",
            Self::Tray { .. } => "tray",
        }
    }
}

impl Default for Feed {
    fn default() -> Self {
        Self(broadcast::Sender::new(BACKLOG))
    }
}

impl Feed {
    /// Tells whoever listens.
    pub fn tell(&self, authentication: Option<&Metadata>, what: Happening) {
        if self.0.receiver_count() > 0 {
            let notice = Notice { at: Timestamp::now(), authentication: authentication.cloned(), what };
            // The last listener may just have gone.
            let _ = self.0.send(Arc::new(notice));
        }
    }

    /// Listens from now on.
    pub fn listen(&self) -> broadcast::Receiver<Arc<Notice>> {
        self.0.subscribe()
    }
}
