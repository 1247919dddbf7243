//! The operating system: files, memory, accounts and time stamps of the kernel. The only place with `unsafe`.

pub mod accounts;
pub mod alloc;
pub mod child;
pub mod clock;
pub mod delivery;
pub mod files;
pub mod journald;
pub mod lease;
pub mod limits;
pub mod memfd;
pub mod memory;
pub mod overwrite;
pub mod peer;
pub mod process;
pub mod sandbox;
pub mod secret_memory;
pub mod signals;
pub mod stack;
pub mod volatile;
pub mod watched;
pub mod write_out;
