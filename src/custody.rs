//! The keys and tokens of a running daemon: locked, unlocked, rotated. Whoever calls has decided that it may be done; what
//! is done is recorded here, before or with it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::{Mutex, Notify};

use crate::{
    audit::{Action, AuditError, AuditLog, Event, Outcome},
    clauses::clauses,
    config,
    ingest::{Journal, JournalError},
    principals::{Principals, Tokens},
    secret::{NotText, SecretString},
    source::{Source, SourceError},
    status::{Board, Resealing},
    task::{Shutdown, TaskError},
    tray::{ApiUserToken, MasterToken},
    unlock::{self, UnlockError},
    vault::{self, Cache, CacheError, IsLocked, Keyring, UnlockKey, VaultError, Walk},
};

/// The pause after something was in the way of re-sealing.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// What it works on.
pub struct Custody {
    /// Where `vault.json` is.
    pub state_directory: PathBuf,
    /// Where the key is, unless a caller presents one.
    pub unlock: config::Unlock,
    /// Where the tokens are.
    pub tokens: config::Tokens,
    /// The keys.
    pub keyring: Arc<Keyring>,
    /// Who holds the tokens.
    pub principals: Principals,
    /// What is sealed.
    pub cache: Cache,
    /// What is sealed, too.
    pub journal: Journal,
    /// Where all of it is recorded.
    pub audit: AuditLog,
    /// Where it posts how far re-sealing is.
    pub board: Board,
    /// One change at a time.
    pub turn: Mutex<()>,
    /// Wakes the re-sealing.
    pub rotated: Notify,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum CustodyError {
    /// The vault refuses.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// There is no key.
    #[error(transparent)]
    Unlock(#[from] UnlockError),
    /// A token can't be had.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The vault is unlocked already.
    #[error("the vault is unlocked already")]
    IsUnlocked,
    /// The key is asked for on a terminal, which a daemon has not.
    #[error("the vault's passphrase has to be given")]
    KeyNeeded,
    /// It can't be recorded.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The cache can't be read or written.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The journal can't be read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The daemon is going down.
    #[error("the daemon is stopping")]
    Stopping,
}

impl From<IsLocked> for CustodyError {
    fn from(error: IsLocked) -> Self {
        Self::Vault(error.into())
    }
}

/// A token can't be had from its source.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It can't be read.
    #[error("the {0} can't be read")]
    Unreadable(&'static str, #[source] SourceError),
    /// It is not text.
    #[error("the {0} is not a token")]
    NotText(&'static str, #[source] NotText),
    /// One token is given as two kinds.
    #[error("tokens.master and tokens.api_user are the same token")]
    Same,
}

impl TokenError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreadable(_, error) => error.hint(),
            Self::NotText(..) => None,
            Self::Same => Some(
                "tokens.master takes the organisation's master token, which an admin of it makes in Tray's UI; \
                 tokens.api_user the token of an API user, who is made in a shared workspace; leave out the one you \
                 don't have"
                    .to_owned(),
            ),
        }
    }
}

/// Reads the tokens that the configuration names.
///
/// # Errors
/// [`TokenError`].
pub fn read_tokens(tokens: &config::Tokens) -> Result<Tokens, TokenError> {
    let config::Tokens { master, api_user } = tokens;
    let master = master.as_ref().map(|from| token("master token", from)).transpose()?;
    let api_user = api_user.as_ref().map(|from| token("API user's token", from)).transpose()?;
    if let (Some(master), Some(api_user)) = (&master, &api_user)
        && master.is_same(api_user)
    {
        return Err(TokenError::Same);
    }
    Ok(Tokens::new(master.map(MasterToken::new), api_user.map(ApiUserToken::new)))
}

fn token(name: &'static str, source: &Source) -> Result<SecretString, TokenError> {
    let bytes = source.read().map_err(|error| TokenError::Unreadable(name, error))?;
    bytes.without_line_end().into_text().map_err(|error| TokenError::NotText(name, error))
}

impl Custody {
    /// Wipes the keys and the tokens. `event` says who asked.
    ///
    /// # Errors
    /// [`CustodyError`]; locked already, it stays so.
    pub async fn lock(&self, event: impl Fn(Outcome) -> Event + Send + Sync) -> Result<(), CustodyError> {
        let _turn = self.turn.lock().await;
        if !self.keyring.is_unlocked() {
            return Err(IsLocked.into());
        }
        self.audit.record_synced(&event(Outcome::Done))?;
        self.principals.forget_tokens();
        let keyring = Arc::clone(&self.keyring);
        blocking(move || keyring.lock()).await??;
        tracing::warn!("the vault is locked");
        Ok(())
    }

    /// Unlocks with the key that a caller presents, or with the one that the configuration names. `event` says who asked.
    ///
    /// # Errors
    /// [`CustodyError`]; the vault stays locked.
    pub async fn unlock(
        &self,
        key: Option<UnlockKey>,
        event: impl Fn(Outcome) -> Event + Send + Sync,
    ) -> Result<(), CustodyError> {
        let _turn = self.turn.lock().await;
        if self.keyring.is_unlocked() {
            return Err(CustodyError::IsUnlocked);
        }
        if key.is_none() && self.unlock == config::Unlock::Prompt {
            return Err(CustodyError::KeyNeeded);
        }
        let (directory, configured) = (self.state_directory.clone(), self.unlock.clone());
        let unlocked = blocking(move || -> Result<_, CustodyError> {
            let key = key.map_or_else(|| unlock::key(&configured), Ok)?;
            Ok(vault::Locked::open(&directory)?.unlock(&key)?)
        })
        .await?;
        if matches!(unlocked, Err(CustodyError::Vault(VaultError::WrongKey))) {
            self.audit.record_synced(&event(Outcome::Failed).because("no key slot opens with this key"))?;
        }
        let unlocked = unlocked?;
        if unlocked.vault_id() != self.keyring.vault_id() {
            return Err(VaultError::Another(self.state_directory.clone()).into());
        }
        let tokens = read_tokens(&self.tokens)?;
        self.audit.record_synced(&event(Outcome::Done))?;
        // The tasks go on as soon as there are keys, and find the tokens there.
        self.principals.hold(tokens);
        if let Err(error) = self.keyring.unlock(&self.state_directory, unlocked) {
            self.principals.forget_tokens();
            return Err(error.into());
        }
        tracing::info!("the vault is unlocked");
        Ok(())
    }

    /// Begins a new epoch; its number. What earlier ones sealed is re-sealed in the background. `event` says who asked.
    ///
    /// # Errors
    /// [`CustodyError`]; the epoch stays then.
    pub async fn rotate(&self, event: impl Fn(Outcome) -> Event + Send + Sync) -> Result<u32, CustodyError> {
        let _turn = self.turn.lock().await;
        self.audit.record_synced(&event(Outcome::Begun))?;
        let (keyring, directory) = (Arc::clone(&self.keyring), self.state_directory.clone());
        let rotated = blocking(move || keyring.rotate(&directory)).await?;
        let outcome = match &rotated {
            Ok(epoch) => {
                self.audit.generations().reached_epoch(*epoch);
                event(Outcome::Done).epoch(*epoch)
            }
            Err(_) => event(Outcome::Failed),
        };
        self.audit.record_synced(&outcome)?;
        if rotated.is_ok() {
            self.board.post(|posted| posted.resealing = Some(Resealing { done: 0, total: 0 }));
            self.rotated.notify_one();
        }
        Ok(rotated?)
    }

    /// Re-seals whenever there are earlier epochs, from where a crash or a lock cut it off, until the shutdown.
    ///
    /// # Errors
    /// None: what is in the way is logged, and it is tried again.
    pub async fn reseal(self: Arc<Self>, mut shutdown: Shutdown) -> Result<(), TaskError> {
        loop {
            let work = async {
                self.keyring.unlocked().await;
                match self.reseal_all().await {
                    Ok(()) => self.rotated.notified().await,
                    // It goes on once it is unlocked again.
                    Err(_) if !self.keyring.is_unlocked() => {}
                    Err(error) => {
                        tracing::error!(error = clauses(&error), "re-sealing is at a stand");
                        tokio::time::sleep(RETRY_PAUSE).await;
                    }
                }
            };
            tokio::select! {
                biased;
                () = shutdown.requested() => return Ok(()),
                () = work => {}
            }
        }
    }

    async fn reseal_all(&self) -> Result<(), CustodyError> {
        if !self.keyring.keys()?.has_earlier_epochs() {
            return Ok(());
        }
        let mut progress = Resealing { done: 0, total: self.total()? };
        let post = |progress| self.board.post(|posted| posted.resealing = Some(progress));
        post(progress);
        progress.done += self.journal.reseal().await?.seen;
        let mut walk = Walk::default();
        while walk != Walk::Through {
            let step = self.cache.reseal(walk).await?;
            walk = step.next;
            progress.done += step.seen;
            // What was written meanwhile is sealed in the new epoch, and seen all the same.
            progress.total = progress.total.max(progress.done);
            post(progress);
        }
        // INVARIANT: what is on stable storage, the write-ahead log included, holds nothing of the earlier epochs before
        // their keys are destroyed.
        self.cache.settle().await?;
        let _turn = self.turn.lock().await;
        let epoch = self.keyring.keys()?.epoch();
        let event = |outcome| Event::new(Action::Retire, outcome).epoch(epoch);
        self.audit.record_synced(&event(Outcome::Begun))?;
        let (keyring, directory) = (Arc::clone(&self.keyring), self.state_directory.clone());
        blocking(move || keyring.retire_earlier_epochs(&directory)).await??;
        self.audit.record_synced(&event(Outcome::Done))?;
        self.board.post(|posted| posted.resealing = None);
        tracing::info!(epoch, "everything is sealed in the current epoch, and the earlier ones are destroyed");
        Ok(())
    }

    fn total(&self) -> Result<u64, CustodyError> {
        let counts = self.cache.counts()?;
        Ok(counts.authentications() + counts.users + self.journal.unfinished()?)
    }
}

/// Runs what takes Argon2's time, or waits for the disk, where nobody waits for it.
async fn blocking<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> Result<T, CustodyError> {
    tokio::task::spawn_blocking(act).await.map_err(|_| CustodyError::Stopping)
}
