//! The whole program from outside: a real daemon in a temporary directory, the emulator on loopback, the command line
//! as a person types it.

#![expect(clippy::expect_used, reason = "a test that can't go on says why and fails")]

mod abuse;
mod access;
mod audit;
mod backup;
mod cli;
mod client;
mod credentials;
mod demo;
mod doctor;
mod documents;
mod events;
mod exec;
mod freshness;
mod guard;
mod held;
mod ingest;
mod integrity;
mod keys;
mod life;
mod memory;
mod metrics;
mod openapi;
mod pages;
mod redaction;
mod refusals;
mod sealing;
mod socket;
mod support;
mod sync;
mod systemd;
mod terminal;
mod top;
mod whole_way;
mod withdrawn;
