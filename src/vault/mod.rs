//! The vault: who may unlock it, how records are sealed, and the encrypted cache.
//!
//! A random root key is wrapped by the key slots of `vault.json` ([`create`], [`Locked`]). Once unlocked it
//! gives, by HKDF with one label a purpose, the [`Keys`] of a [`Keyring`], which seal each value to its [`Place`].
//! The [`Cache`] is a database of such values; [`open_database`] sets it up, and any other of the house.

mod cache;
mod change;
mod database;
mod fields;
mod header;
mod keyring;
mod locked;
mod slots;

pub use cache::{
    Ages, Cache, CacheError, Counts, Cursor, Filter, GoneReason, Held, Listing, Record, Resealed, Scheduled,
    SealedSecret, Secret, State, Walk, Write,
};
pub use database::{
    Continuity, CopyError, DatabaseError, Durability, RolledBack, copy_database, open_database, plausible_generation,
    set_aside,
};
pub use keyring::{Damaged, Fingerprint, HeldIdentity, IsLocked, Keyring, Keys, Place};
pub use locked::{FILE_NAME as HEADER, Locked, Unlocked, VaultError, create};
pub use slots::{NewSlot, SlotKind, SlotSummary, UnlockKey};
