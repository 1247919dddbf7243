//! `vault.json`: the key slots and epochs of a vault. Nothing in it is secret, and nothing in it is believed
//! before the root key has vouched for it, save for what is needed to get at the root key.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

use super::fields::Fields;
use super::locked::VaultError;
use super::slots::{Slot, SlotKey};
use crate::crypto::{self, CryptoError};
use crate::secret::Key;

/// The format that this program writes, and the only one it reads.
const FORMAT: u32 = 1;
/// The largest header that is read, in bytes; one with every slot and epoch taken is far smaller.
pub(super) const MAX_LEN: u64 = 64 * 1024;
/// How many slots a header has at most: each may cost a passphrase's Argon2id.
pub(super) const MAX_SLOTS: usize = 16;
const MAX_EPOCHS: usize = 64;

/// The header, whole. The `commitment` is an HMAC over the rest of it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    format: u32,
    pub(super) vault: Uuid,
    /// Ascending; the last one is current.
    pub(super) epochs: Vec<Epoch>,
    pub(super) slots: Vec<Slot>,
    commitment: Base64<32>,
}

/// An epoch's part in the derivation of its sealing key. It is random so that forgetting it destroys the
/// epoch's key, though the root key stays.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Epoch {
    pub(super) number: u32,
    pub(super) salt: Base64<32>,
}

impl Epoch {
    /// A new one.
    pub(super) fn random(number: u32) -> Result<Self, CryptoError> {
        Ok(Self { number, salt: Base64(crypto::random()?) })
    }
}

impl Header {
    /// A header in the current format, committed to by the root key.
    pub(super) fn new(vault: Uuid, epochs: Vec<Epoch>, slots: Vec<Slot>, root: &Key) -> Self {
        let mut header = Self { format: FORMAT, vault, epochs, slots, commitment: Base64([0; 32]) };
        header.commit(root);
        header
    }

    /// Makes the header, as it is now, the root key's.
    pub(super) fn commit(&mut self, root: &Key) {
        let key = self.commitment_key(root);
        self.commitment = Base64(crypto::hmac_sha256(&key, &[self.committed().as_bytes()]));
    }

    /// The header in these bytes, its sizes and costs within bounds.
    pub(super) fn parse(json: &[u8]) -> Result<Self, VaultError> {
        // The format first, on its own: what a later one has in it needs not be known to refuse it.
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let malformed = |error: serde_json::Error| VaultError::Malformed { line: error.line(), column: error.column() };
        let Format { format } = serde_json::from_slice(json).map_err(malformed)?;
        if format != FORMAT {
            return Err(VaultError::Format { found: format });
        }
        let header: Self = serde_json::from_slice(json).map_err(malformed)?;
        header.check_bounds()?;
        Ok(header)
    }

    /// Whether its sizes and costs are within bounds.
    pub(super) fn check_bounds(&self) -> Result<(), VaultError> {
        if !(1..=MAX_SLOTS).contains(&self.slots.len()) {
            return Err(VaultError::Bounds("key slots"));
        }
        let ascending = self.epochs.is_sorted_by(|one, next| one.number < next.number);
        if !(1..=MAX_EPOCHS).contains(&self.epochs.len()) || !ascending {
            return Err(VaultError::Bounds("epochs"));
        }
        for slot in &self.slots {
            if let SlotKey::Passphrase { argon2id } = slot.key {
                argon2id.check()?;
            }
        }
        Ok(())
    }

    /// The header as it is stored.
    pub(super) fn to_json(&self) -> Vec<u8> {
        #[expect(clippy::expect_used, reason = "no map keys, no floats, nothing that can fail")]
        let mut json = serde_json::to_vec_pretty(self).expect("a header has a form in JSON");
        json.push(b'\n');
        json
    }

    /// Whether `root` is the key that this very header was written with.
    ///
    /// This is the key commitment that AES-GCM lacks (one wrapped key can be made to unwrap under two
    /// passphrases), and it shows what the slots' own tags can't: a slot or an epoch added, taken away or put
    /// back.
    #[must_use]
    pub(super) fn is_committed_to_by(&self, root: &Key) -> bool {
        let key = self.commitment_key(root);
        crypto::hmac_sha256_matches(&key, &[self.committed().as_bytes()], &self.commitment.0)
    }

    fn commitment_key(&self, root: &Key) -> Key {
        crypto::hkdf_sha256(root, self.vault.as_bytes(), "trayvault v1 commitment")
    }

    fn committed(&self) -> Fields {
        let fields = Fields::of("trayvault header")
            .number(self.format)
            .bytes(self.vault.as_bytes())
            .number(self.epochs.len() as u64);
        let fields = self.epochs.iter().fold(fields, |fields, epoch| fields.number(epoch.number).bytes(&epoch.salt.0));
        self.slots
            .iter()
            .fold(fields.number(self.slots.len() as u64), |fields, slot| slot.commit_to(fields, self.vault))
    }
}

/// Exactly `N` bytes, in JSON as standard base64.
#[derive(Clone)]
pub(super) struct Base64<const N: usize>(pub(super) [u8; N]);

impl<const N: usize> Serialize for Base64<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(self.0))
    }
}

impl<'de, const N: usize> Deserialize<'de> for Base64<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| de::Error::custom(format_args!("not {N} bytes in base64")))
    }
}
