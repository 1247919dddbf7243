//! The whole program from outside: a real daemon in a temporary directory, the emulator on loopback, the command line
//! as a person types it.

mod audit;
mod cli;
mod demo;
mod ingest;
mod life;
mod redaction;
mod socket;
mod support;
mod sync;
mod whole_way;
