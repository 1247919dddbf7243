//! Who the daemon may act as: embedded end users, each by a token minted with the master token and kept sealed for its
//! two days, and the shared workspace of an API user.

mod catalogue;
mod new_user;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::{Mutex, OnceCell};

use crate::{
    audit::{Action, AuditError, AuditLog, Event, Outcome, Target},
    authentication::{EndUser, ExternalUserId, Owner, UserId},
    lately::Lately,
    secret::SecretString,
    tray::{
        Acting, ApiUserToken, Class, MasterToken, Priority, SharedWorkspace, Tray, TrayError, UserCriteria, UserToken,
        WorkspaceError,
    },
    vault::{Cache, CacheError, IsLocked, Write},
};

/// The calls that are made with the master token.
const MASTER_CALLS: [&str; 2] = ["list end users", "mint user token"];

/// How long a user token is valid (the contract: two days).
const USER_TOKEN_LIFETIME: Duration = Duration::from_secs(2 * 24 * 60 * 60);

/// How long it is believed that there is no end user of an external id: somebody may be about to mend that.
const ABSENT_FOR: Duration = Duration::from_secs(30);

/// A token is not used any more when this little of its time is left.
const USER_TOKEN_MARGIN: Duration = Duration::from_secs(60 * 60);

/// How long after a renewal another rejection is a refusal, not an expiry.
const ONE_RENEWAL_IN: Duration = Duration::from_secs(60 * 60);

/// Minting is serialised for each user, and so is the making of users; users share this many locks.
const USER_LOCKS: usize = 32;

/// The principals that the configuration gives tokens for. Cheap to clone.
#[derive(Clone)]
pub struct Principals {
    tray: Tray,
    shared: Arc<Shared>,
}

struct Shared {
    cache: Cache,
    audit: AuditLog,
    /// Whether the configuration names a token of each kind, which stays true while the vault is locked.
    configured: Configured,
    /// `None` while the vault is locked.
    tokens: RwLock<Option<Arc<Tokens>>>,
    minting: [Mutex<()>; USER_LOCKS],
    making_users: [Mutex<()>; USER_LOCKS],
    /// Whose token was renewed because Tray rejected it.
    renewed: Lately<UserId>,
    /// Whom Tray did not have when it was asked.
    absent: Lately<ExternalUserId>,
}

#[derive(Clone, Copy)]
struct Configured {
    master: bool,
    api_user: bool,
}

/// The tokens that the configuration names.
pub struct Tokens {
    master: Option<MasterToken>,
    api_user: Option<Arc<ApiUserToken>>,
    /// The API user's workspace, verified before the token's first use.
    workspace: OnceCell<Arc<SharedWorkspace>>,
}

impl Tokens {
    /// Takes them over.
    pub fn new(master: Option<MasterToken>, api_user: Option<ApiUserToken>) -> Self {
        Self { master, api_user: api_user.map(Arc::new), workspace: OnceCell::new() }
    }

    /// Asks Tray, once for each, whether they are of the kind that they are given as.
    pub async fn verify(&self, tray: &Tray) -> Vec<(&'static str, Result<(), PrincipalError>)> {
        let mut verified = Vec::new();
        if let Some(master) = &self.master {
            // Who lists one end user lists all, and this is one page whoever there is.
            let nobody = UserId("00000000-0000-0000-0000-000000000000".to_owned());
            let criteria = UserCriteria { user_id: Some(&nobody), external_user_id: None };
            let listed = tray.end_users(master, Some(criteria)).await;
            verified.push(("master token", listed.map(drop).map_err(PrincipalError::from)));
        }
        if let Some(api_user) = &self.api_user {
            let workspace = api_user.verify(tray).await;
            verified.push(("API user's token", workspace.map(drop).map_err(PrincipalError::from)));
        }
        verified
    }

    fn master(&self) -> Result<&MasterToken, PrincipalError> {
        self.master.as_ref().ok_or(PrincipalError::NotConfigured("master token"))
    }
}

/// The end users of the organisation.
pub struct EndUsers {
    /// Those that Tray lists.
    pub present: Vec<EndUser>,
    /// Those that are known here and that Tray does not list any more.
    pub departed: Vec<EndUser>,
}

/// Something the daemon acts as, with a token in hand.
pub enum Session {
    /// An embedded end user.
    EndUser(UserToken),
    /// The shared workspace.
    Workspace(Arc<SharedWorkspace>),
}

impl Session {
    /// What the client takes.
    pub fn acting(&self) -> Acting<'_> {
        match self {
            Self::EndUser(token) => Acting::EndUser(token),
            Self::Workspace(workspace) => Acting::Workspace(workspace),
        }
    }
}

/// What became of a token that Tray rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The next session has another.
    Renewed,
    /// There is none to be had: Tray rejected the last one lately, or it is an API user's.
    Refused,
}

/// Why the daemon can't act as a principal.
#[derive(Debug, thiserror::Error)]
pub enum PrincipalError {
    /// The configuration has no token for this kind of principal.
    #[error("no {0} is configured")]
    NotConfigured(&'static str),
    /// The API user's token is not one, or can't be verified.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// Tray refused, or can't be asked.
    #[error(transparent)]
    Tray(#[from] TrayError),
    /// The cache can't be read or written.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The vault is locked, and the tokens are wiped.
    #[error(transparent)]
    IsLocked(#[from] IsLocked),
    /// The audit log can't be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// Nothing is begun any more.
    #[error("the daemon is going down")]
    GoingDown,
}

impl PrincipalError {
    /// The class of Tray's refusal, if it was Tray who refused.
    pub fn class(&self) -> Option<Class> {
        match self {
            Self::Tray(error) | Self::Workspace(WorkspaceError::Unverified(error)) => Some(error.class),
            _ => None,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match (self, self.class()) {
            (Self::Workspace(error), None) => error.hint(),
            (Self::Tray(error), Some(Class::NotPermitted | Class::TokenRejected))
                if MASTER_CALLS.contains(&error.call) =>
            {
                Some("tokens.master takes the organisation's master token, which an admin of it makes in Tray's UI")
            }
            (_, class) => class.and_then(token_hint),
        }
    }
}

/// What to do where Tray refuses a token.
pub fn token_hint(class: Class) -> Option<&'static str> {
    match class {
        Class::TokenRejected => Some("check that the token is valid, of the right kind and of this region"),
        Class::NotPermitted => Some("check that the token is of the right kind: see the README's tokens"),
        _ => None,
    }
}

impl Principals {
    /// Takes the tokens over.
    pub fn new(tray: Tray, cache: Cache, audit: AuditLog, tokens: Tokens) -> Self {
        let shared = Shared {
            cache,
            audit,
            configured: Configured { master: tokens.master.is_some(), api_user: tokens.api_user.is_some() },
            tokens: RwLock::new(Some(Arc::new(tokens))),
            minting: std::array::from_fn(|_| Mutex::new(())),
            making_users: std::array::from_fn(|_| Mutex::new(())),
            renewed: Lately::within(ONE_RENEWAL_IN),
            absent: Lately::within(ABSENT_FOR),
        };
        Self { tray, shared: Arc::new(shared) }
    }

    /// The same, asking Tray with another priority.
    #[must_use]
    pub fn at(&self, priority: Priority) -> Self {
        Self { tray: self.tray.at(priority), shared: Arc::clone(&self.shared) }
    }

    /// Wipes the tokens, once no request that is under way needs them.
    pub fn forget_tokens(&self) {
        *self.shared.tokens.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Holds tokens again.
    pub fn hold(&self, tokens: Tokens) {
        *self.shared.tokens.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(tokens));
    }

    fn tokens(&self) -> Result<Arc<Tokens>, IsLocked> {
        self.shared.tokens.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or(IsLocked)
    }

    /// The end users that are known here.
    ///
    /// # Errors
    /// [`PrincipalError::Cache`].
    pub fn known_end_users(&self) -> Result<Vec<EndUser>, PrincipalError> {
        Ok(self.shared.cache.users()?)
    }

    /// Whether there is a token for a shared workspace.
    pub fn has_workspace(&self) -> bool {
        self.shared.configured.api_user
    }

    /// Lists the end users in Tray and remembers those that are new. Without a master token there are none, and those
    /// that are known have departed.
    ///
    /// # Errors
    /// [`PrincipalError`].
    pub async fn discover_end_users(&self) -> Result<EndUsers, PrincipalError> {
        if !self.shared.configured.master {
            return Ok(EndUsers { present: Vec::new(), departed: self.shared.cache.users()? });
        }
        let present = self.tray.end_users(self.tokens()?.master()?, None).await?;
        let known = self.shared.cache.users()?;
        let by_id: HashMap<_, _> = known.iter().map(|user| (&user.id, user)).collect();
        let is_new = |user: &&EndUser| by_id.get(&user.id) != Some(user);
        let new: Vec<_> = present.iter().filter(is_new).cloned().map(Write::User).collect();
        if !new.is_empty() {
            self.shared.cache.write(new).await?;
        }
        let ids: HashSet<_> = present.iter().map(|user| &user.id).collect();
        let departed = known.into_iter().filter(|user| !ids.contains(&user.id)).collect();
        Ok(EndUsers { present, departed })
    }

    /// The end user with this external id: from the local mapping, else from Tray, which asks not to be asked so often.
    ///
    /// # Errors
    /// [`PrincipalError`].
    pub async fn end_user_by_external_id(&self, id: &ExternalUserId) -> Result<Option<EndUser>, PrincipalError> {
        if let Some(user) = self.shared.cache.user_by_external_id(id)? {
            return Ok(Some(user));
        }
        if self.shared.absent.has(id) {
            return Ok(None);
        }
        let found = self.find_end_user(UserCriteria { external_user_id: Some(id), ..UserCriteria::default() }).await?;
        if found.is_none() {
            self.shared.absent.note(id.clone());
        }
        Ok(found)
    }

    /// The end user with this id: from the local mapping, else from Tray.
    ///
    /// # Errors
    /// [`PrincipalError`].
    pub async fn end_user(&self, id: &UserId) -> Result<Option<EndUser>, PrincipalError> {
        match self.shared.cache.user(id)? {
            Some(user) => Ok(Some(user)),
            None => self.find_end_user(UserCriteria { user_id: Some(id), ..UserCriteria::default() }).await,
        }
    }

    /// Asks Tray for one end user, and remembers it.
    async fn find_end_user(&self, criteria: UserCriteria<'_>) -> Result<Option<EndUser>, PrincipalError> {
        let found = self.tray.end_users(self.tokens()?.master()?, Some(criteria)).await?;
        // Whatever else Tray may answer, only the one that was asked for is taken.
        let asked_for = |user: &EndUser| {
            criteria.user_id.is_none_or(|id| user.id == *id)
                && criteria.external_user_id.is_none_or(|id| user.external_user_id == *id)
        };
        let user = found.into_iter().find(asked_for);
        if let Some(user) = &user {
            self.remember(user).await?;
        }
        Ok(user)
    }

    /// Adds an end user to the local mapping.
    async fn remember(&self, user: &EndUser) -> Result<(), PrincipalError> {
        self.shared.cache.write(vec![Write::User(user.clone())]).await?;
        Ok(())
    }

    /// A session for an owner of authentications, with a token that is good for a while yet.
    ///
    /// # Errors
    /// [`PrincipalError`].
    pub async fn session(&self, owner: &Owner) -> Result<Session, PrincipalError> {
        match owner {
            Owner::EndUser { user_id, .. } => self.user_token(owner, user_id).await.map(Session::EndUser),
            Owner::Workspace => self.shared_workspace().await.map(Session::Workspace),
        }
    }

    /// Has an end user's token minted anew by the next session after Tray rejected it, once an hour at most. Where the
    /// session is given that was rejected, a token that replaced its own meanwhile is the renewal. An API user's token
    /// can't be minted: it stays, until the operator gives another.
    ///
    /// # Errors
    /// [`PrincipalError::Cache`].
    pub async fn token_rejected(&self, owner: &Owner, rejected: Option<&Session>) -> Result<Renewal, PrincipalError> {
        let Owner::EndUser { user_id, .. } = owner else { return Ok(Renewal::Refused) };
        let _one_at_a_time = self.minting(user_id).lock().await;
        let held = self.held_token(user_id)?;
        if let Some(Session::EndUser(rejected)) = rejected
            && !held.is_some_and(|(held, _)| held.is_same(rejected.secret()))
        {
            return Ok(Renewal::Renewed);
        }
        if !self.shared.renewed.note(user_id.clone()) {
            return Ok(Renewal::Refused);
        }
        self.shared.cache.write(vec![Write::ForgetUserToken(user_id.clone())]).await?;
        Ok(Renewal::Renewed)
    }

    /// Somebody asks, who may have mended what was wrong: a token that was renewed lately may be again.
    pub fn forget_refusals(&self) {
        self.shared.renewed.forget_all();
    }

    async fn user_token(&self, owner: &Owner, user: &UserId) -> Result<UserToken, PrincipalError> {
        let tokens = self.tokens()?;
        let master = tokens.master()?;
        let _one_at_a_time = self.minting(user).lock().await;
        if let Some((token, expires_at)) = self.held_token(user)?
            && expires_at > Timestamp::now() + USER_TOKEN_MARGIN
        {
            return Ok(UserToken::new(user.clone(), token));
        }
        let event = |outcome| Event::new(Action::MintToken, outcome).on(Target::owner(owner));
        self.shared.audit.record(&event(Outcome::Begun))?;
        let minted = self.tray.authorize(master, user).await;
        self.shared.audit.record(&event(if minted.is_ok() { Outcome::Done } else { Outcome::Failed }))?;
        let token = minted?;
        let copy = token.secret().duplicate();
        let expires_at = Timestamp::now() + USER_TOKEN_LIFETIME;
        self.shared.cache.write(vec![Write::UserToken { user: user.clone(), token: copy, expires_at }]).await?;
        Ok(token)
    }

    fn minting(&self, user: &UserId) -> &Mutex<()> {
        lock_of(&self.shared.minting, &user.0)
    }

    /// The token that is held for an end user, and when it expires. A damaged one is as good as none: another is minted
    /// and written over it.
    fn held_token(&self, user: &UserId) -> Result<Option<(SecretString, Timestamp)>, CacheError> {
        match self.shared.cache.user_token(user) {
            Err(CacheError::DamagedUser { .. }) => Ok(None),
            held => held,
        }
    }

    async fn shared_workspace(&self) -> Result<Arc<SharedWorkspace>, PrincipalError> {
        let tokens = self.tokens()?;
        let token = tokens.api_user.as_ref().ok_or(PrincipalError::NotConfigured("API user's token"))?;
        let verify = async {
            let verified = token.verify(&self.tray).await;
            let outcome = if verified.is_ok() { Outcome::Done } else { Outcome::Failed };
            let event = Event::new(Action::VerifyWorkspace, outcome).on(Target::owner(&Owner::Workspace));
            self.shared.audit.record(&event)?;
            Ok(Arc::new(verified?))
        };
        tokens.workspace.get_or_try_init(|| verify).await.map(Arc::clone)
    }
}

/// The one of the locks that a user's id falls on.
fn lock_of<'a>(locks: &'a [Mutex<()>; USER_LOCKS], id: &str) -> &'a Mutex<()> {
    let sum = id.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    &locks[sum % USER_LOCKS]
}
