//! stub
use crate::{
    audit::AuditLog,
    policy::Policy,
    principals::Principals,
    status::Board,
    task::{Shutdown, TaskError},
    tray::Tray,
    vault::{Cache, Keyring},
};
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::watch;
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub directory: Option<PathBuf>,
    #[serde(with = "crate::duration")]
    pub scan_interval: Duration,
    pub max_size: u64,
    #[serde(with = "crate::duration")]
    pub settle: Duration,
}
impl Default for Config {
    fn default() -> Self {
        Self {
            directory: None,
            scan_interval: Duration::from_secs(30),
            max_size: 1 << 20,
            settle: Duration::from_secs(60),
        }
    }
}
pub struct Dependencies {
    pub state_dir: PathBuf,
    pub keyring: Arc<Keyring>,
    pub tray: Arc<Tray>,
    pub principals: Arc<Principals>,
    pub cache: Cache,
    pub audit: AuditLog,
    pub policy: watch::Receiver<Arc<Policy>>,
    pub board: Board,
}
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct IngestError;
pub struct Ingest(Config, Dependencies);
impl Ingest {
    pub fn open(c: Config, d: Dependencies) -> Result<Self, IngestError> {
        Ok(Self(c, d))
    }
    pub async fn run(self, mut s: Shutdown) -> Result<(), TaskError> {
        s.requested().await;
        Ok(())
    }
}
