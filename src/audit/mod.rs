//! The audit log: what was done and refused, for whom, and by which rule; redacted by construction and chained, so
//! that a change shows.
//!
//! An entry is one JSON object on one line. Its last member, `mac`, is HMAC-SHA256 (RFC 2104) under the vault's
//! audit key over the predecessor's MAC followed by the line without that member. The first entry's predecessor is
//! 32 zero bytes.
//!
//! The log is one chain in several files: when one is large or old enough, its place is taken by a new one, whose first entry
//! has the MAC of the last entry before it. docs/audit.md describes all of it.

mod anchor;
mod anchors;
mod chain;
mod config;
mod entry;
mod event;
mod failures;
mod generations;
mod log;
mod mirror;
mod open;
mod piece;
mod queue;
mod read;
mod rotate;
mod segment;
mod tail;
mod verify;

#[cfg(test)]
mod tests;

pub use anchor::{Anchor, AnchorError};
pub use anchors::Anchors;
pub use config::{AnchorConfig, Config, Identifiers, Sync};
pub use event::{Action, Actor, Event, Outcome, Target};
pub use failures::{count_failed_unlock, record_failed_unlocks};
pub use generations::{Anchored, Generations};
pub use log::{AuditError, AuditLog, Failure};
pub use read::{By, Record, read};
pub use segment::{FILE_NAME, StubError, closed_segments, files_of_the_log, is_of_the_log};
pub use verify::{Fault, Found, Place, Verdict, VerifyError, verify};
