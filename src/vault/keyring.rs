//! The keys of an unlocked vault, and what is sealed with them.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use uuid::Uuid;

use super::fields::Fields;
use super::header::Epoch;
use crate::crypto::{self, CryptoError};
use crate::sealed::{Identity, Recipient};
use crate::secret::{Key, SecretBytes};

/// The first byte of everything sealed: this layout, and XAES-256-GCM.
const FORMAT: u8 = 1;
/// Before the nonce: the format byte, and the epoch as a big-endian `u32`.
const PREFIX_LEN: usize = 1 + 4;
/// How often [`Keyring::lock`] looks whether the keys are still in use.
const WIPED_PAUSE: Duration = Duration::from_millis(1);

/// The keys of a vault that a daemon works on: there while it is unlocked, wiped while it is locked.
pub struct Keyring {
    vault: Uuid,
    recipient: Recipient,
    keys: RwLock<Option<Arc<Keys>>>,
    unlocked: watch::Sender<bool>,
}

/// The vault is locked: its keys are not in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the vault is locked")]
pub struct IsLocked;

impl Keyring {
    pub(super) fn new(vault: Uuid, keys: Keys) -> Self {
        let recipient = keys.identity.recipient();
        Self { vault, recipient, keys: RwLock::new(Some(Arc::new(keys))), unlocked: watch::Sender::new(true) }
    }

    /// The vault's id.
    pub fn vault_id(&self) -> Uuid {
        self.vault
    }

    /// The keys, for one operation: whoever holds them on keeps [`Self::lock`] waiting.
    ///
    /// INVARIANT: whoever seals and stores takes the keys within the lock or on the thread that stores. What is stored
    /// after a rotation is then sealed in the new epoch, and what was stored before is seen by whoever re-seals.
    pub fn keys(&self) -> Result<Arc<Keys>, IsLocked> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or(IsLocked)
    }

    /// To whom documents are sealed for this vault to open. It is known while the vault is locked, too, and stays the same
    /// as long as there is the vault.
    pub fn recipient(&self) -> &Recipient {
        &self.recipient
    }

    /// What opens documents that are sealed to [`Self::recipient`], for one operation, as [`Self::keys`].
    pub fn identity(&self) -> Result<HeldIdentity, IsLocked> {
        self.keys().map(HeldIdentity)
    }

    /// Whether the vault is unlocked.
    pub fn is_unlocked(&self) -> bool {
        *self.unlocked.borrow()
    }

    /// Resolves once the vault is unlocked; at once if it is.
    pub async fn unlocked(&self) {
        // The sender is part of this value.
        let _ = self.unlocked.subscribe().wait_for(|unlocked| *unlocked).await;
    }

    /// Resolves once the vault is locked; at once if it is.
    pub async fn locked(&self) {
        // The sender is part of this value.
        let _ = self.unlocked.subscribe().wait_for(|unlocked| !*unlocked).await;
    }

    /// Takes the keys out, waits until nobody uses them and wipes them. Blocks, for as long as one read takes.
    ///
    /// # Errors
    /// [`IsLocked`]: it was locked already.
    pub fn lock(&self) -> Result<(), IsLocked> {
        let taken = self.replace(None).ok_or(IsLocked)?;
        self.unlocked.send_replace(false);
        while Arc::strong_count(&taken) > 1 {
            std::thread::sleep(WIPED_PAUSE);
        }
        Ok(())
    }

    /// Puts other keys of this vault in force.
    pub(super) fn put(&self, keys: Keys) {
        self.replace(Some(Arc::new(keys)));
        self.unlocked.send_replace(true);
    }

    /// Puts other keys in the place of those in force; not if it was locked meanwhile.
    pub(super) fn exchange(&self, keys: Keys) -> Result<(), IsLocked> {
        let mut held = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if held.is_none() {
            return Err(IsLocked);
        }
        *held = Some(Arc::new(keys));
        Ok(())
    }

    fn replace(&self, keys: Option<Arc<Keys>>) -> Option<Arc<Keys>> {
        std::mem::replace(&mut *self.keys.write().unwrap_or_else(PoisonError::into_inner), keys)
    }
}

/// The vault's identity, while it is in use: [`Keyring::lock`] waits for it as it waits for the keys.
pub struct HeldIdentity(Arc<Keys>);

impl Deref for HeldIdentity {
    type Target = Identity;

    fn deref(&self) -> &Identity {
        &self.0.identity
    }
}

/// The root key, the sealing key of each epoch, the fingerprint key, and the identity.
///
/// INVARIANT: every other key is HKDF-SHA256 of the root key under a label of its own, with the vault's id in
/// the salt. The root key itself never seals, and no derived key serves two purposes.
pub struct Keys {
    vault: Uuid,
    pub(super) root: Key,
    /// Never empty, in ascending order; the last one seals.
    epochs: Vec<(u32, Key)>,
    fingerprint: Key,
    /// The same in every epoch: what was sealed to it before a rotation may be delivered long after.
    identity: Identity,
}

/// Where a sealed value belongs. It opens there and nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The table, or the kind of document.
    pub table: &'a str,
    /// The column within it.
    pub column: &'a str,
    /// The record's id.
    pub record: &'a [u8],
    /// Which version of the value this is: one that was replaced doesn't pass for its successor.
    pub revision: u64,
    /// The times, in epoch milliseconds, that are trusted along with the value.
    pub times: &'a [i64],
}

/// Sealed bytes didn't open: they, their place or the vault are not what they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sealed bytes are damaged or out of place")]
pub struct Damaged;

impl Keys {
    pub(super) fn derive(root: Key, vault: Uuid, epochs: &[Epoch]) -> Self {
        let epoch_key = |epoch: &Epoch| {
            let salt = [vault.as_bytes(), &epoch.salt.0[..]].concat();
            let label = format!("trayvault v1 epoch {}", epoch.number);
            (epoch.number, crypto::hkdf_sha256(&root, &salt, &label))
        };
        Self {
            vault,
            epochs: epochs.iter().map(epoch_key).collect(),
            fingerprint: crypto::hkdf_sha256(&root, vault.as_bytes(), "trayvault v1 fingerprint"),
            identity: Identity::new(crypto::hkdf_sha256(&root, vault.as_bytes(), "trayvault v1 identity")),
            root,
        }
    }

    /// The number of the epoch that seals.
    pub fn epoch(&self) -> u32 {
        self.current().0
    }

    /// Whether there are earlier epochs, which open what was sealed in them.
    pub fn has_earlier_epochs(&self) -> bool {
        self.epochs.len() > 1
    }

    fn current(&self) -> (u32, &Key) {
        #[expect(clippy::expect_used, reason = "a header without epochs is refused")]
        let (epoch, key) = self.epochs.last().expect("a keyring has an epoch");
        (*epoch, key)
    }

    /// The same value sealed in the current epoch; `None` if it is already.
    pub fn reseal(&self, place: &Place<'_>, sealed: &[u8]) -> Result<Option<Vec<u8>>, Damaged> {
        if epoch_of(sealed) == Some(self.epoch()) {
            return Ok(None);
        }
        let plaintext = self.open(place, sealed)?;
        // What was opened was not too long to be sealed; and without randomness the daemon has other worries.
        self.seal(place, plaintext.expose_secret()).map(Some).map_err(|_| Damaged)
    }

    /// Seals `plaintext` to its place with the current epoch's key.
    ///
    /// Gives the stored form: format byte, epoch (big-endian `u32`), 24-byte nonce, ciphertext, 16-byte tag.
    pub fn seal(&self, place: &Place<'_>, plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let (epoch, key) = self.current();
        let overhead = PREFIX_LEN + crypto::NONCE_LEN + crypto::TAG_LEN;
        let mut sealed = Vec::with_capacity(overhead + plaintext.len());
        sealed.push(FORMAT);
        sealed.extend_from_slice(&epoch.to_be_bytes());
        crypto::seal(key, self.associated(place, epoch).as_bytes(), plaintext, &mut sealed)?;
        Ok(sealed)
    }

    /// Opens what [`seal`](Self::seal) gave for the same place, in this epoch or an earlier one.
    pub fn open(&self, place: &Place<'_>, sealed: &[u8]) -> Result<SecretBytes, Damaged> {
        let epoch = epoch_of(sealed).ok_or(Damaged)?;
        let (_, key) = self.epochs.iter().find(|(number, _)| *number == epoch).ok_or(Damaged)?;
        crypto::open(key, self.associated(place, epoch).as_bytes(), &sealed[PREFIX_LEN..]).map_err(|_| Damaged)
    }

    fn associated(&self, place: &Place<'_>, epoch: u32) -> Fields {
        let fields = Fields::of("trayvault record")
            .number(FORMAT)
            .bytes(self.vault.as_bytes())
            .number(epoch)
            .bytes(place.table.as_bytes())
            .bytes(place.column.as_bytes())
            .bytes(place.record)
            .number(place.revision)
            .number(place.times.len() as u64);
        place.times.iter().copied().fold(fields, Fields::signed)
    }

    /// What stands for `value` where the value itself must not be seen: equal for equal values of a domain,
    /// and without the key neither reversed nor guessed.
    pub fn fingerprint(&self, domain: &str, value: &[u8]) -> Fingerprint {
        let fields = Fields::of("trayvault fingerprint").bytes(domain.as_bytes()).bytes(value);
        let mac = crypto::hmac_sha256(&self.fingerprint, &[fields.as_bytes()]);
        let [bytes @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = mac;
        Fingerprint(bytes)
    }
}

fn epoch_of(sealed: &[u8]) -> Option<u32> {
    match sealed.first_chunk::<PREFIX_LEN>() {
        Some([FORMAT, epoch @ ..]) => Some(u32::from_be_bytes(*epoch)),
        _ => None,
    }
}

/// A keyed fingerprint: the first 16 bytes of an HMAC-SHA256. Shown in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// The fingerprint that was stored as these bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes, to be stored.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Its first half, as the integer that an index of the cache holds.
    pub(super) fn to_integer(self) -> i64 {
        let (high, _) = Uuid::from_bytes(self.0).as_u64_pair();
        high.cast_signed()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::crypto::tests::key;
    use crate::vault::header::Base64;

    /// A keyring with these epochs, of the same root key and vault each time.
    pub(in crate::vault) fn keyring(epochs: &[u32]) -> Keyring {
        Keyring::new(Uuid::from_bytes([1; 16]), keys(epochs))
    }

    pub(in crate::vault) fn keys(epochs: &[u32]) -> Keys {
        let epochs: Vec<_> = epochs.iter().map(|&number| Epoch { number, salt: Base64([9; 32]) }).collect();
        Keys::derive(key(&[7; 32]), Uuid::from_bytes([1; 16]), &epochs)
    }

    const PLACE: Place<'static> = Place { table: "t", column: "c", record: b"r", revision: 1, times: &[1, 2] };

    #[test]
    fn the_stored_form_is_format_epoch_nonce_ciphertext_tag() {
        let sealed = keys(&[3, 0x0102_0304]).seal(&PLACE, b"plaintext").unwrap();
        assert_eq!(sealed[..5], [1, 1, 2, 3, 4]);
        assert_eq!(sealed.len(), 5 + 24 + 9 + 16);
    }

    #[test]
    fn an_earlier_epoch_opens_until_it_is_forgotten() {
        let sealed = keys(&[1]).seal(&PLACE, b"plaintext").unwrap();
        assert_eq!(keys(&[1, 2]).open(&PLACE, &sealed).unwrap().expose_secret(), b"plaintext");
        assert_eq!(keys(&[2]).open(&PLACE, &sealed).err(), Some(Damaged));
    }

    #[test]
    fn what_is_resealed_opens_at_its_place_in_the_new_epoch_alone() {
        let sealed = keys(&[1]).seal(&PLACE, b"plaintext").unwrap();
        let resealed = keys(&[1, 2]).reseal(&PLACE, &sealed).unwrap().unwrap();
        assert_eq!(keys(&[2]).open(&PLACE, &resealed).unwrap().expose_secret(), b"plaintext");
        assert_eq!(keys(&[1, 2]).reseal(&PLACE, &resealed), Ok(None));
        assert_eq!(keys(&[2]).reseal(&PLACE, &sealed), Err(Damaged));
        let elsewhere = Place { revision: 2, ..PLACE };
        assert_eq!(keys(&[1, 2]).reseal(&elsewhere, &sealed), Err(Damaged));
    }

    #[tokio::test]
    async fn locked_there_are_no_keys_until_they_are_put_back() {
        let keyring = keyring(&[1]);
        let in_use = keyring.keys().unwrap();
        std::thread::scope(|scope| {
            let locking = scope.spawn(|| keyring.lock());
            while keyring.is_unlocked() {
                std::thread::yield_now();
            }
            assert!(!locking.is_finished(), "the keys are in use");
            drop(in_use);
            assert_eq!(locking.join().unwrap(), Ok(()));
        });
        assert!(keyring.keys().is_err());
        assert_eq!(keyring.lock(), Err(IsLocked));
        keyring.put(keys(&[1, 2]));
        keyring.unlocked().await;
        assert_eq!(keyring.keys().unwrap().epoch(), 2);
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_refused() {
        let (keys, all) = (keys(&[1, 2]), 0..);
        let mut sealed = keys.seal(&PLACE, b"plaintext").unwrap();
        for (at, bit) in all.take(sealed.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            sealed[at] ^= 1 << bit;
            assert_eq!(keys.open(&PLACE, &sealed).err(), Some(Damaged), "bit {bit} of {at}");
            sealed[at] ^= 1 << bit;
            assert_eq!(keys.open(&PLACE, &sealed[..at]).err(), Some(Damaged), "cut at {at}");
        }
    }

    #[test]
    fn another_vault_or_another_root_opens_nothing() {
        let sealed = keys(&[1]).seal(&PLACE, b"plaintext").unwrap();
        let epochs = [Epoch { number: 1, salt: Base64([9; 32]) }];
        let other_root = crypto::random_key().unwrap();
        let same_root = || key(&[7; 32]);
        let vault = |byte| Uuid::from_bytes([byte; 16]);
        assert!(Keys::derive(same_root(), vault(1), &epochs).open(&PLACE, &sealed).is_ok());
        assert!(Keys::derive(same_root(), vault(2), &epochs).open(&PLACE, &sealed).is_err());
        assert!(Keys::derive(other_root, vault(1), &epochs).open(&PLACE, &sealed).is_err());
    }

    /// Whoever has the recipient in a script seals to it for years: another derivation would be another recipient.
    #[test]
    fn the_recipient_is_the_same_in_every_epoch_and_known_while_locked() {
        const RECIPIENT: &str = "age1g694vk4wef8h6t5v3jfgd238fj6e62jej95chmsg8x9ah3v655hszzlchv";
        let sealed = keyring(&[1]).recipient().seal(b"plaintext").unwrap();
        for epochs in [&[1][..], &[1, 2], &[7]] {
            let keyring = keyring(epochs);
            assert_eq!(keyring.recipient().to_string(), RECIPIENT);
            let opened = keyring.identity().unwrap().open(&sealed, 9).unwrap();
            assert_eq!(opened.expose_secret(), b"plaintext");
            keyring.lock().unwrap();
            assert_eq!(keyring.recipient().to_string(), RECIPIENT);
            assert_eq!(keyring.identity().err(), Some(IsLocked));
        }
        let other = Keys::derive(key(&[7; 32]), Uuid::from_bytes([2; 16]), &[]);
        assert_ne!(other.identity.recipient().to_string(), RECIPIENT);
    }

    #[test]
    fn a_fingerprint_depends_on_domain_value_and_key_and_on_where_they_part() {
        let keys = keys(&[1]);
        let fingerprint = keys.fingerprint("user", b"id");
        assert_eq!(fingerprint, keys.fingerprint("user", b"id"));
        assert_ne!(fingerprint, keys.fingerprint("use", b"rid"));
        assert_ne!(fingerprint, keys.fingerprint("owner", b"id"));
        let other = Keys::derive(crypto::random_key().unwrap(), Uuid::from_bytes([1; 16]), &[]);
        assert_ne!(fingerprint, other.fingerprint("user", b"id"));
    }

    #[test]
    fn a_fingerprint_is_shown_in_hexadecimal() {
        let mut bytes = [0xab; 16];
        bytes[0] = 0x01;
        assert_eq!(Fingerprint::from_bytes(bytes).to_string(), format!("01{}", "ab".repeat(15)));
    }

    /// Few letters and short fields, so that equal ones, and ones that meet once concatenated, are common.
    fn places() -> impl Strategy<Value = (String, String, Vec<u8>, u64, Vec<i64>)> {
        let record = prop::collection::vec(0..2_u8, 0..3);
        let times = prop::collection::vec(0..2_i64, 0..3);
        ("[ab]{0,2}", "[ab]{0,2}", record, 0..2_u64, times)
    }

    proptest! {
        #[test]
        fn a_value_opens_at_its_place_only(
            one in places(),
            two in places(),
            plaintext: Vec<u8>,
        ) {
            fn place(parts: &(String, String, Vec<u8>, u64, Vec<i64>)) -> Place<'_> {
                let (table, column, record, revision, times) = parts;
                Place { table, column, record, revision: *revision, times }
            }
            let keys = keys(&[1]);
            let sealed = keys.seal(&place(&one), &plaintext).unwrap();
            let opened = keys.open(&place(&one), &sealed).unwrap();
            prop_assert_eq!(opened.expose_secret(), &plaintext[..]);
            prop_assert_eq!(keys.open(&place(&two), &sealed).is_ok(), one == two);
        }
    }
}
