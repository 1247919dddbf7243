//! trayvault: a secure credential vault sync daemon for Tray authentications.
//!
//! The map, in the order in which data flows:
//!
//! - [`config`] reads what the operator wants, [`source`] and [`unlock`] get at tokens and keys, [`daemon`] puts it all
//!   together and [`task`] keeps it running;
//! - [`tray`] talks to Tray, as one of the [`principals`];
//! - [`sync`] finds authentications and pulls what [`policy`] permits; [`ingest`] sends those that are dropped;
//! - [`sealed`] is how documents are sealed to the vault before they are dropped;
//! - [`vault`] seals them, with [`crypto`], into a cache; [`stores`] opens it and the journal, [`custody`] locks, unlocks
//!   and rotates the keys;
//! - [`socket`] answers callers that [`policy`] names, and [`audit`] records all of it first;
//! - [`requests`] is what tasks ask of synchronisation, [`freshness`] what a value's age means, [`feed`], [`status`] and
//!   [`metrics`] what the tasks say of themselves;
//! - [`cli`] is what a person sees, [`offline`], [`check`], [`doctor`] and [`backup`] what needs no daemon;
//! - [`secret`], [`authentication`] and [`pointer`] are the vocabulary, [`system`] the operating system.

pub mod audit;
pub mod authentication;
pub mod backup;
pub mod check;
mod clauses;
pub mod cli;
pub mod config;
pub mod crypto;
pub mod custody;
pub mod daemon;
pub mod doctor;
mod duration;
#[cfg(feature = "emulator")]
pub mod emulator;
mod failpoint;
pub mod feed;
pub mod freshness;
pub mod ingest;
mod lately;
mod logging;
mod members;
pub mod metrics;
pub mod offline;
mod percent;
pub mod pointer;
pub mod policy;
pub mod principals;
pub mod pulse;
pub mod requests;
pub mod sealed;
pub mod secret;
pub mod socket;
pub mod source;
pub mod status;
pub mod stores;
pub mod sync;
pub mod system;
pub mod task;
pub mod tray;
pub mod unlock;
pub mod vault;

/// What is freed is wiped: libraries leave copies of what went through them.
#[global_allocator]
static ALLOCATOR: system::alloc::Wiping = system::alloc::Wiping;
