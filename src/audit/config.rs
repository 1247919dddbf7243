//! `[audit]`: what is kept of whom, when it is on stable storage, and for how long.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

/// `[audit]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How owners and names are written.
    pub identifiers: Identifiers,
    /// Which entries are on stable storage before what they are for happens.
    pub sync: Sync,
    /// A segment of this size is closed, in bytes.
    pub segment_size: u64,
    /// A segment that began so long ago is closed, once there is another entry.
    #[serde(with = "crate::duration")]
    pub segment_age: Duration,
    /// For how many days closed segments are kept; for ever without.
    pub keep_days: Option<u32>,
    /// `[audit.anchor]`.
    pub anchor: AnchorConfig,
}

/// How owners and names are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identifiers {
    /// As keyed fingerprints: the same one always has the same, and nobody without the key learns whose it is.
    #[default]
    Fingerprint,
    /// As they are.
    Plain,
}

/// Which entries are on stable storage first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sync {
    /// Those of what can't be undone: writes in Tray, key changes; and the workflow guard's refusals. The others outlive a
    /// crash of the daemon, and not a loss of power within seconds.
    #[default]
    Acts,
    /// All.
    Always,
}

/// `[audit.anchor]`: where the log's head is written besides, so that a log that was cut off can be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnchorConfig {
    /// How often, if there are new entries.
    #[serde(with = "crate::duration")]
    pub interval: Duration,
    /// A file, to which a line is appended; best on another file system or host.
    pub file: Option<PathBuf>,
    /// A program and its arguments. It gets the line on standard input.
    pub command: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        Self {
            identifiers: Identifiers::default(),
            sync: Sync::default(),
            segment_size: 64 * MIB,
            segment_age: Duration::from_secs(7 * 24 * 60 * 60),
            keep_days: None,
            anchor: AnchorConfig::default(),
        }
    }
}

impl Default for AnchorConfig {
    fn default() -> Self {
        Self { interval: Duration::from_secs(5 * 60), file: None, command: Vec::new() }
    }
}

impl Config {
    /// What is wrong with it.
    ///
    /// # Errors
    /// A clause that names the key.
    pub fn validate(&self) -> Result<(), &'static str> {
        const SMALLEST: u64 = 64 * 1024;
        let anchor = &self.anchor;
        if self.segment_size < SMALLEST {
            Err("audit.segment_size is less than 65536 bytes")
        } else if self.segment_age < Duration::from_secs(60) {
            Err("audit.segment_age is less than a minute")
        } else if anchor.interval < Duration::from_secs(1) {
            Err("audit.anchor.interval is less than a second")
        } else if anchor.file.as_deref().is_some_and(|file| !file.is_absolute()) {
            Err("audit.anchor.file is not an absolute path")
        } else if anchor.command.first().is_some_and(|program| !program.starts_with('/')) {
            Err("audit.anchor.command does not begin with an absolute path")
        } else {
            Ok(())
        }
    }
}
