//! Ids and secrets derived from the seed: no randomness, so that a failing run can be repeated.

use std::collections::HashMap;

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// How every secret the emulator makes begins, so that a leak can be searched for.
pub const SECRET_MARK: &str = "sk-emu-";

/// What every error of the emulator's quotes, as if it were of a request with a secret: it must not come out either.
pub const QUOTED: &str = "sk-emu-quoted-0b8e61d3f27c4a95";

/// An endless stream of ids and secrets: the n-th of a kind is SHA-256(seed, kind, n).
#[derive(Debug)]
pub(super) struct Stream {
    seed: u64,
    drawn: HashMap<&'static str, u64>,
    secrets: Vec<String>,
}

impl Stream {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, drawn: HashMap::new(), secrets: Vec::new() }
    }

    /// The next id of its kind, shaped as a version 4 UUID.
    pub(super) fn uuid(&mut self, kind: &'static str) -> Uuid {
        let digest = self.draw(kind);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    /// The next secret of its kind: `sk-emu-<kind>-<32 hex digits>`, remembered for [`Stream::secrets`].
    pub(super) fn secret(&mut self, kind: &'static str) -> String {
        let secret = format!("{SECRET_MARK}{kind}-{}", self.uuid(kind).simple());
        self.secrets.push(secret.clone());
        secret
    }

    /// Every secret made so far, those since rotated or deleted too.
    pub(super) fn secrets(&self) -> &[String] {
        &self.secrets
    }

    fn draw(&mut self, kind: &'static str) -> [u8; 32] {
        let index = self.drawn.entry(kind).or_default();
        let mut hash = Sha256::new();
        hash.update(b"trayvault emulator\0");
        hash.update(self.seed.to_be_bytes());
        hash.update(index.to_be_bytes());
        hash.update(kind);
        *index += 1;
        hash.finalize().into()
    }
}
