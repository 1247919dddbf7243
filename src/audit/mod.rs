//! The audit log: what was done and refused, for whom, and by which rule; redacted by construction and chained, so
//! that a change shows.
//!
//! An entry is one JSON object on one line. Its last member, `mac`, is HMAC-SHA256 (RFC 2104) under the vault's
//! audit key over the predecessor's MAC followed by the line without that member. The first entry's predecessor is
//! 32 zero bytes.

mod chain;
mod entry;
mod event;
mod failures;
mod generations;
mod log;
mod queue;
mod tail;
mod verify;

pub use event::{Action, Actor, Event, Outcome, Target};
pub use failures::{count_failed_unlock, record_failed_unlocks};
pub use generations::{Anchored, Generations};
pub use log::{AuditError, AuditLog};
pub use verify::{Fault, Verdict, verify};

/// The log's file in the audit directory.
pub const FILE_NAME: &str = "audit.jsonl";
