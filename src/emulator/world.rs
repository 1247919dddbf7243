//! The way in for whoever runs the emulator: everything behind the API, to look at and to change.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use uuid::Uuid;

use super::access::Account;
use super::call::Call;
use super::fault::Fault;
use super::limit::{Limit, Limiter};
use super::state::{Authentication, Draft, State};
use super::views::{
    Alteration, AuthenticationView, Creation, EnvironmentView, NewAuthentication, Origin, StateView, UserView,
    WorkspaceTypeForm,
};

/// A handle on a running emulator's world. Clones share it; each method locks it briefly and never waits.
#[derive(Clone)]
pub struct World(Arc<Mutex<State>>);

impl World {
    pub(super) fn new(state: State) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    /// INVARIANT: `act` neither waits nor calls back, so the lock is held for moments. A panic under it is a failing
    /// test's; what it left is still worth looking at.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Requests of this call received so far, those limited, struck by a fault or refused too.
    pub fn requests(&self, call: Call) -> u64 {
        self.with(|state| state.requests.get(&call).copied().unwrap_or_default())
    }

    /// Sets all counts of requests and limit rejections to zero.
    pub fn forget_requests(&self) {
        self.with(|state| {
            state.requests.clear();
            state.limit_rejections = 0;
        });
    }

    /// Requests refused by the limits.
    pub fn limit_rejections(&self) -> u64 {
        self.with(|state| state.limit_rejections)
    }

    /// All counts at once.
    pub fn state(&self) -> StateView {
        self.with(|state| StateView {
            users: state.users.len(),
            authentications: state.authentications.len(),
            requests: state.requests.clone(),
            limit_rejections: state.limit_rejections,
            creations: state.creations.len(),
            duplicates: state.creations.iter().filter(|(_, creation)| creation.earlier_equals > 0).count(),
            faults: state.faults.iter().map(|fault| u64::from(fault.times)).sum(),
            full_read_enabled: state.full_read_enabled,
        })
    }

    /// Every authentication of every owner, oldest first.
    pub fn authentications(&self) -> Vec<AuthenticationView> {
        self.with(|state| state.authentications.iter().filter_map(|found| view(state, found)).collect())
    }

    /// One authentication, whoever owns it.
    pub fn authentication(&self, id: Uuid) -> Option<AuthenticationView> {
        self.with(|state| state.authentication(Account::Organisation, id).and_then(|found| view(state, found)))
    }

    /// Every authentication made through the API since the start, deleted ones too, oldest first.
    pub fn creations(&self) -> Vec<Creation> {
        self.with(|state| state.creations.iter().map(|(_, creation)| creation.clone()).collect())
    }

    /// The end users, oldest first.
    pub fn users(&self) -> Vec<UserView> {
        self.with(|state| {
            let users = state.users.iter().map(|user| UserView {
                id: user.id,
                name: user.name.clone(),
                external_user_id: user.external_user_id.clone(),
                is_test_user: user.never_billed,
            });
            users.collect()
        })
    }

    /// The id of the end user with this external id.
    pub fn user(&self, external_user_id: &str) -> Option<Uuid> {
        self.with(|state| state.users.iter().find(|user| user.external_user_id == external_user_id).map(|user| user.id))
    }

    /// The API user's shared workspace.
    pub fn shared_workspace(&self) -> Uuid {
        self.with(|state| state.shared_workspace)
    }

    /// Every service environment.
    pub fn environments(&self) -> Vec<EnvironmentView> {
        self.with(|state| state.catalogue.environments())
    }

    /// The id of a service's environment by service name and title.
    pub fn environment(&self, service: &str, title: &str) -> Option<Uuid> {
        let mut environments = self.environments().into_iter();
        environments.find(|environment| environment.service == service && environment.title == title).map(|it| it.id)
    }

    /// Every secret string the emulator ever made, rotated and deleted ones and tokens too. What a client sent in is
    /// not among them.
    pub fn secrets(&self) -> Vec<String> {
        self.with(|state| state.stream.secrets().to_vec())
    }

    /// Adds a fault; of those that match a request the first added strikes.
    pub fn add_fault(&self, fault: Fault) {
        self.with(|state| state.faults.push(fault));
    }

    /// Takes all faults away.
    pub fn clear_faults(&self) {
        self.with(|state| state.faults.clear());
    }

    /// Switches `/full` on or off for the organisation.
    pub fn set_full_read(&self, enabled: bool) {
        self.with(|state| state.full_read_enabled = enabled);
    }

    /// Replaces the limits, with a full bucket and an empty minute; `None` switches them off.
    pub fn set_limit(&self, limit: Option<Limit>) {
        self.with(|state| state.limiter = limit.map(|limit| Limiter::new(limit, Instant::now())));
    }

    /// Lets no page hold more entries than this (100 at the start), whatever `first` asks for; at least 1.
    pub fn cap_pages(&self, entries: u64) {
        self.with(|state| state.page_cap = entries.max(1));
    }

    /// Chooses the wire form of a workspace's `type`.
    pub fn set_workspace_type_form(&self, form: WorkspaceTypeForm) {
        self.with(|state| state.workspace_type_form = form);
    }

    /// Mints a user token without a request; `None` if there is no such user.
    pub fn mint_user_token(&self, user: Uuid) -> Option<String> {
        self.with(|state| state.users.iter().any(|known| known.id == user).then(|| state.mint_user_token(user)))
    }

    /// Makes every user token minted so far answer 401.
    pub fn expire_user_tokens(&self) {
        self.with(State::expire_user_tokens);
    }

    /// Adds an end user and gives their id.
    pub fn add_user(&self, external_user_id: &str, name: &str) -> Uuid {
        self.with(|state| state.add_user(name.to_owned(), external_user_id.to_owned(), false))
    }

    /// Adds an authentication behind the client's back; `None` if the environment is unknown.
    pub fn add_authentication(&self, new: NewAuthentication) -> Option<Uuid> {
        self.with(|state| {
            state.catalogue.environment(new.service_environment_id)?;
            let credentials = new.credentials.unwrap_or_else(|| state.issue(new.service_environment_id));
            let draft = Draft {
                name: new.name,
                service_environment_id: new.service_environment_id,
                credentials,
                user_data: new.user_data,
                scopes: new.scopes,
                on_prem_agent_group_id: None,
            };
            Some(state.store(new.owner, Origin::Control, draft))
        })
    }

    /// Changes an authentication behind the client's back; `false` if there is none.
    pub fn alter_authentication(&self, id: Uuid, alteration: Alteration) -> bool {
        self.with(|state| {
            let Some(found) = state.authentication_mut(Account::Organisation, id) else {
                return false;
            };
            let Alteration { name, credentials, user_data, scopes } = alteration;
            found.body.name = name.unwrap_or_else(|| found.body.name.clone());
            found.body.credentials = credentials.unwrap_or_else(|| found.body.credentials.clone());
            found.body.user_data = user_data.unwrap_or_else(|| found.body.user_data.clone());
            found.body.scopes = scopes.or_else(|| found.body.scopes.clone());
            true
        })
    }

    /// Gives an authentication new credentials of its service's style, as when its owner authenticates anew; `false`
    /// if there is none.
    pub fn reissue_authentication(&self, id: Uuid) -> bool {
        self.with(|state| {
            let found = state.authentication(Account::Organisation, id);
            let Some(environment) = found.map(|found| found.body.service_environment_id) else {
                return false;
            };
            let credentials = state.issue(environment);
            if let Some(found) = state.authentication_mut(Account::Organisation, id) {
                found.body.credentials = credentials;
            }
            true
        })
    }

    /// Removes an end user and what they own; `false` if there is no such user.
    pub fn remove_user(&self, id: Uuid) -> bool {
        self.with(|state| {
            let before = state.users.len();
            state.users.retain(|user| user.id != id);
            state.authentications.retain(|found| found.owner != Account::User(id));
            state.users.len() < before
        })
    }

    /// Removes an authentication behind the client's back; `false` if there is none.
    pub fn remove_authentication(&self, id: Uuid) -> bool {
        self.with(|state| state.remove(Account::Organisation, id).is_some())
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

fn view(state: &State, found: &Authentication) -> Option<AuthenticationView> {
    let (service, _) = state.catalogue.environment(found.body.service_environment_id)?;
    Some(AuthenticationView {
        id: found.id,
        owner: found.owner,
        name: found.body.name.clone(),
        service: service.blueprint.name.to_owned(),
        service_version: service.blueprint.version,
        service_environment_id: found.body.service_environment_id,
        credentials: found.body.credentials.clone().into(),
        user_data: found.body.user_data.clone().into(),
        scopes: found.body.scopes.clone(),
        on_prem_agent_group_id: found.body.on_prem_agent_group_id,
        origin: found.origin,
    })
}
