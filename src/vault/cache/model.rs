//! What goes into the cache and comes out of it.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::schema;
use super::stored::Stored;
use crate::authentication::{AuthenticationId, EndUser, Metadata, Owner, UserId};
use crate::secret::{SecretBytes, SecretString};
use crate::vault::keyring::Fingerprint;

/// What is known of whether an authentication's secret can be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Listed, and not pulled yet.
    Pending = 0,
    /// The policy doesn't permit a full read; no secret is held.
    NotPermitted = 1,
    /// Tray hasn't switched the full read on for its principal.
    NotEnabled = 2,
    /// Pulled: the secret is held.
    Full = 3,
    /// A tombstone: upstream it is no more, or out of reach; no secret is held.
    Gone = 4,
    /// Quarantined: what was held didn't open and was destroyed. The next synchronisation pulls it again.
    Damaged = 5,
    /// Tray refuses its principal: the secret stays sealed and isn't answered until Tray accepts the principal again.
    Refused = 6,
}

impl State {
    const ALL: [Self; 7] =
        [Self::Pending, Self::NotPermitted, Self::NotEnabled, Self::Full, Self::Gone, Self::Damaged, Self::Refused];

    /// Whether what is held may be answered: not after Tray refused it, in whichever way.
    pub fn is_answered(self) -> bool {
        matches!(self, Self::Full | Self::Pending)
    }

    /// How the column holds it.
    pub(super) fn code(self) -> i64 {
        self as i64
    }

    pub(super) fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.code() == code)
    }
}

/// Why an authentication became a tombstone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GoneReason {
    /// Tray doesn't list it any more.
    DeletedUpstream = 0,
    /// Tray refuses what it permitted before.
    PermissionLost = 1,
    /// Its end user or workspace is no longer there, or no longer configured.
    PrincipalRemoved = 2,
}

impl GoneReason {
    const ALL: [Self; 3] = [Self::DeletedUpstream, Self::PermissionLost, Self::PrincipalRemoved];

    /// How the column holds it.
    pub(super) fn code(self) -> i64 {
        self as i64
    }

    pub(super) fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }
}

/// One change. Times are kept to the millisecond.
pub enum Write {
    /// Tray listed it: it is inserted as [`State::Pending`], or its metadata are brought up to date. A
    /// tombstone becomes pending again; any other state, and the secret, stay.
    Listed {
        /// As listed.
        metadata: Metadata,
        /// When.
        at: Timestamp,
    },
    /// Its scopes became known: its metadata are brought up to date, unless it is a tombstone.
    Scoped {
        /// With the scopes.
        metadata: Metadata,
        /// When.
        at: Timestamp,
    },
    /// What became known of whether it can be pulled: `Pending`, `NotPermitted`, `NotEnabled` or `Refused`. The secret
    /// is destroyed by `NotPermitted` and kept by the others. A tombstone stays one, one that was never listed is passed
    /// over, and what is `NotEnabled` or `Refused` does not become `Pending`.
    Mark {
        /// Which.
        id: AuthenticationId,
        /// One of the four.
        state: State,
    },
    /// Tray refuses a principal: all that it has, or is to have, in full is marked [`State::Refused`].
    Refuse(Owner),
    /// It was read in full, and becomes [`State::Full`] in a new revision. A tombstone stays one, and a mark stays
    /// in force: a pull that a deletion, an update or a new rule has overtaken mustn't bring the old secret back.
    Pulled {
        /// Which.
        id: AuthenticationId,
        /// The cache's generation when Tray was asked.
        asked_in: u64,
        /// The JSON text of the full answer, kept as it came.
        body: SecretBytes,
        /// When the answer came.
        fetched_at: Timestamp,
        /// When the credentials in it expire, if they say.
        expires_at: Option<Timestamp>,
    },
    /// It becomes a tombstone: the secret is destroyed and the metadata kept. One that is already keeps its
    /// reason, and one that was never listed is passed over.
    Gone {
        /// Which.
        id: AuthenticationId,
        /// Why.
        reason: GoneReason,
        /// When.
        at: Timestamp,
    },
    /// Tombstones from before this moment are forgotten.
    ForgetGone {
        /// When they became tombstones, at the latest.
        before: Timestamp,
    },
    /// It doesn't open: it becomes [`State::Damaged`] and what is held is destroyed. A tombstone stays one.
    Quarantine(AuthenticationId),
    /// An end user as listed; the token that is held stays.
    User(EndUser),
    /// The end user and their token are removed; what they own isn't.
    RemoveUser(UserId),
    /// A user token was minted, for an end user that is in the cache.
    UserToken {
        /// Whose.
        user: UserId,
        /// The token.
        token: SecretString,
        /// When it expires.
        expires_at: Timestamp,
    },
    /// The end user's token is destroyed: Tray refused it.
    ForgetUserToken(UserId),
}

impl Write {
    /// The authentication that it lists.
    pub(super) fn listed(&self) -> Option<AuthenticationId> {
        match self {
            Self::Listed { metadata, .. } => Some(metadata.id),
            _ => None,
        }
    }
}

/// What is known of an authentication without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// As last listed.
    pub metadata: Metadata,
    /// Whether its secret can be held.
    pub state: State,
    /// Why it is a tombstone, if it is one.
    pub gone: Option<GoneReason>,
    /// How many times it was pulled.
    pub revision: u64,
    /// When the metadata were listed.
    pub listed_at: Timestamp,
    /// When the secret that is held was fetched.
    pub fetched_at: Option<Timestamp>,
    /// When the credentials that are held expire, if they say.
    pub expires_at: Option<Timestamp>,
}

/// A secret that is held, with what is authenticated along with it.
pub struct Secret {
    /// How many times it was pulled.
    pub revision: u64,
    /// When it was fetched.
    pub fetched_at: Timestamp,
    /// When the credentials in it expire, if they say.
    pub expires_at: Option<Timestamp>,
    /// Whether it is what Tray has, as far as is known; a hint, as all plain columns are.
    pub state: State,
    /// The JSON text of the full answer, as Tray sent it.
    pub body: SecretBytes,
}

/// What is known of an authentication, with its secret still sealed.
pub struct Held {
    /// All but the secret.
    pub record: Record,
    /// The secret, if it is held: [`Cache::open_secret`](super::Cache::open_secret) opens it.
    pub sealed: Option<SealedSecret>,
}

/// A secret as it is stored, for whoever first has to decide whether it is opened.
pub struct SealedSecret(pub(super) Arc<Stored>);

/// Which records [`list`](super::Cache::list) gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Those of one owner, by [`Owner::key`](crate::authentication::Owner::key).
    pub owner_key: Option<String>,
    /// Those for one service, by its name.
    pub service: Option<String>,
    /// Those in one state, by its plain column.
    pub state: Option<State>,
    /// Tombstones too.
    pub include_gone: bool,
    /// Those behind this place.
    pub after: Option<Cursor>,
    /// So many at most.
    pub limit: Option<u32>,
}

/// A place in the order in which [`list`](super::Cache::list) gives records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(pub(super) i64);

impl Cursor {
    /// The place of an authentication, whether it is there or not.
    pub fn of(id: AuthenticationId) -> Self {
        Self(schema::row_key(id))
    }
}

/// What [`list`](super::Cache::list) gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The records that the filter selects.
    pub records: Vec<Record>,
    /// Those it selects that don't open.
    pub damaged: Vec<AuthenticationId>,
    /// The place of the last one, if the limit was reached.
    pub next: Option<Cursor>,
}

/// What the plan of a synchronisation needs to know of an authentication. Nothing was decrypted for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheduled {
    /// Which.
    pub id: AuthenticationId,
    /// Of the metadata as last listed: [`metadata_fingerprint`](super::Cache::metadata_fingerprint).
    pub metadata: Fingerprint,
    /// Whether its secret can be held.
    pub state: State,
    /// When and why it became a tombstone, if it is one.
    pub gone: Option<(Timestamp, GoneReason)>,
    /// When the secret that is held was fetched; `None` if none is held.
    pub fetched_at: Option<Timestamp>,
    /// When the credentials that are held expire, if they say.
    pub expires_at: Option<Timestamp>,
}

/// How many authentications are in each state, and how many end users there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// [`State::Full`].
    pub full: u64,
    /// [`State::Pending`].
    pub pending: u64,
    /// [`State::NotPermitted`].
    pub not_permitted: u64,
    /// [`State::NotEnabled`].
    pub not_enabled: u64,
    /// [`State::Gone`].
    pub gone: u64,
    /// [`State::Damaged`].
    pub damaged: u64,
    /// [`State::Refused`].
    pub refused: u64,
    /// End users.
    pub users: u64,
}

/// How old what is held in full is, and what of it expires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ages {
    /// When the one was fetched that was not fetched for longest.
    pub oldest_fetched_at: Option<Timestamp>,
    /// When the next one expires, of those that have not.
    pub next_expiry_at: Option<Timestamp>,
    /// Those that have expired.
    pub expired: u64,
    /// Those that expire within an hour.
    pub expiring_within_hour: u64,
    /// Those that expire within a day, the former among them.
    pub expiring_within_day: u64,
}

impl Counts {
    /// All authentications.
    pub fn authentications(&self) -> u64 {
        self.present() + self.gone
    }

    /// Those that are no tombstones.
    pub fn present(&self) -> u64 {
        let Self { full, pending, not_permitted, not_enabled, gone: _, damaged, refused, users: _ } = self;
        full + pending + not_permitted + not_enabled + damaged + refused
    }
}
