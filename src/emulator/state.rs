//! What Tray knows: the organisation's users, workspaces and authentications, and its current mood.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::access::{Account, Tokens, reaches};
use super::call::Call;
use super::catalogue::{self, Catalogue};
use super::fault::Fault;
use super::limit::Limiter;
use super::seed::Stream;
use super::views::{Creation, Origin, WorkspaceTypeForm};

pub(super) struct State {
    pub(super) stream: Stream,
    pub(super) catalogue: Catalogue,
    pub(super) tokens: Tokens,
    pub(super) shared_workspace: Uuid,
    pub(super) personal_workspace: Uuid,
    pub(super) users: Vec<User>,
    pub(super) authentications: Vec<Authentication>,
    pub(super) creations: Vec<(Draft, Creation)>,
    pub(super) workspaces: Vec<Workspace>,
    pub(super) workspace_type_form: WorkspaceTypeForm,
    pub(super) full_read_enabled: bool,
    pub(super) page_cap: u64,
    pub(super) limiter: Option<Limiter>,
    pub(super) limit_rejections: u64,
    pub(super) requests: BTreeMap<Call, u64>,
    pub(super) faults: Vec<Fault>,
    pub(super) user_tokens: HashMap<String, UserToken>,
    pub(super) user_token_lifetime: Duration,
    pub(super) last_sequence: u64,
}

#[derive(Debug, Clone)]
pub(super) struct User {
    pub(super) sequence: u64,
    pub(super) id: Uuid,
    pub(super) name: String,
    pub(super) external_user_id: String,
    pub(super) never_billed: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Workspace {
    pub(super) sequence: u64,
    pub(super) id: Uuid,
    pub(super) account: Account,
    pub(super) name: String,
    /// As the contract spells it.
    pub(super) kind: &'static str,
}

#[derive(Debug, Clone)]
pub(super) struct Authentication {
    pub(super) sequence: u64,
    pub(super) id: Uuid,
    pub(super) owner: Account,
    pub(super) origin: Origin,
    /// Whether GraphQL shows `serviceEnvironment` and `customFields`, both of which may be null.
    pub(super) is_listed_in_full: bool,
    pub(super) body: Draft,
}

/// What a caller decides of an authentication.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) service_environment_id: Uuid,
    pub(super) credentials: Map<String, Value>,
    pub(super) user_data: Map<String, Value>,
    pub(super) scopes: Option<Vec<String>>,
    pub(super) on_prem_agent_group_id: Option<Uuid>,
}

pub(super) struct UserToken {
    user: Uuid,
    expires: Option<Instant>,
}

impl State {
    pub(super) fn add_workspace(&mut self, name: &str, kind: &'static str, account: impl Fn(Uuid) -> Account) -> Uuid {
        let id = self.stream.uuid("workspace");
        let workspace =
            Workspace { sequence: self.next_sequence(), id, account: account(id), name: name.to_owned(), kind };
        self.workspaces.push(workspace);
        id
    }

    /// Adds an end user, with the workspace that embedding gives them.
    pub(super) fn add_user(&mut self, name: String, external_user_id: String, never_billed: bool) -> Uuid {
        let id = self.stream.uuid("user");
        self.add_workspace(&name, "PersonalExternal", |_| Account::User(id));
        let sequence = self.next_sequence();
        self.users.push(User { sequence, id, name, external_user_id, never_billed });
        id
    }

    pub(super) fn mint_user_token(&mut self, user: Uuid) -> String {
        let token = self.stream.secret("user-token");
        let expires = Instant::now().checked_add(self.user_token_lifetime);
        self.user_tokens.insert(token.clone(), UserToken { user, expires });
        token
    }

    pub(super) fn expire_user_tokens(&mut self) {
        self.user_tokens.clear();
    }

    /// The end user whose unexpired token this is.
    pub(super) fn user_of(&self, token: &str) -> Option<Uuid> {
        let token = self.user_tokens.get(token)?;
        token.expires.is_none_or(|expires| Instant::now() < expires).then_some(token.user)
    }

    pub(super) fn is_shared_workspace(&self, id: Uuid) -> bool {
        self.workspaces.iter().any(|workspace| workspace.id == id && workspace.kind == "Shared")
    }

    /// Fresh credentials in the style of the environment's service; empty for an unknown environment.
    pub(super) fn issue(&mut self, environment: Uuid) -> Map<String, Value> {
        match self.catalogue.environment(environment) {
            Some((service, _)) => service.issue(&mut self.stream, Timestamp::now()),
            None => Map::new(),
        }
    }

    /// Stores an authentication made through the API and records the making, for there is no idempotency: the same
    /// draft twice makes two.
    pub(super) fn create(&mut self, by: Account, origin: Origin, draft: Draft) -> Uuid {
        let earlier_equals = self.creations.iter().filter(|(made, how)| how.by == by && *made == draft).count();
        let id = self.store(by, origin, draft.clone());
        let creation = Creation {
            id,
            by,
            origin,
            name: draft.name.clone(),
            service_environment_id: draft.service_environment_id,
            earlier_equals,
        };
        self.creations.push((draft, creation));
        id
    }

    pub(super) fn store(&mut self, owner: Account, origin: Origin, body: Draft) -> Uuid {
        let id = self.stream.uuid("authentication");
        let sequence = self.next_sequence();
        self.authentications.push(Authentication { sequence, id, owner, origin, is_listed_in_full: true, body });
        id
    }

    /// The authentication, if it exists and the caller may reach it: the two are told apart by nobody.
    pub(super) fn authentication(&self, caller: Account, id: Uuid) -> Option<&Authentication> {
        self.authentications.iter().find(|found| found.id == id && reaches(caller, found.owner))
    }

    pub(super) fn authentication_mut(&mut self, caller: Account, id: Uuid) -> Option<&mut Authentication> {
        self.authentications.iter_mut().find(|found| found.id == id && reaches(caller, found.owner))
    }

    /// Takes it away; `None` when there is no such authentication within the caller's reach.
    pub(super) fn remove(&mut self, caller: Account, id: Uuid) -> Option<Authentication> {
        let position = self.authentications.iter().position(|found| found.id == id && reaches(caller, found.owner))?;
        Some(self.authentications.remove(position))
    }

    /// Renews the access token of an authentication whose service can; a no-op for the others.
    pub(super) fn refresh(&mut self, id: Uuid) {
        let Some(found) = self.authentications.iter_mut().find(|found| found.id == id) else {
            return;
        };
        let service = self.catalogue.environment(found.body.service_environment_id);
        if service.is_some_and(|(service, _)| service.is_refreshable()) {
            catalogue::refresh(&mut found.body.credentials, &mut self.stream, Timestamp::now());
        }
    }

    fn next_sequence(&mut self) -> u64 {
        self.last_sequence += 1;
        self.last_sequence
    }
}

impl Authentication {
    /// What REST shows of it: nothing sensitive; what is not set is absent.
    pub(super) fn metadata(&self) -> Map<String, Value> {
        let mut metadata = Map::new();
        metadata.insert("id".into(), json!(self.id));
        metadata.insert("name".into(), json!(self.body.name));
        metadata.insert("serviceEnvironmentId".into(), json!(self.body.service_environment_id));
        if let Some(scopes) = &self.body.scopes {
            metadata.insert("scopes".into(), json!(scopes));
        }
        if let Some(group) = &self.body.on_prem_agent_group_id {
            metadata.insert("onPremAgentGroupId".into(), json!(group));
        }
        metadata
    }
}
