//! Authentications over REST.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::emulator::access::Account;
use crate::emulator::exchange::Reply;
use crate::emulator::state::{Draft, State};
use crate::emulator::views::Origin;

use super::{Outcome, Refusal, ok};

pub(super) fn read(state: &State, caller: Account, id: Uuid) -> Outcome {
    let found = state.authentication(caller, id).ok_or_else(Refusal::not_found)?;
    Ok(ok(found.metadata().into()))
}

/// INVARIANT: only an end user's token and an API user's of a shared workspace read in full, a master token never.
pub(super) fn full_read(state: &mut State, caller: Account, id: Uuid, force_refresh: bool) -> Outcome {
    let is_allowed = match caller {
        Account::Organisation => false,
        Account::User(_) => true,
        Account::Workspace(workspace) => state.is_shared_workspace(workspace),
    };
    if !(is_allowed && state.full_read_enabled) {
        return Err(Refusal::forbidden());
    }
    if force_refresh && state.authentication(caller, id).is_some() {
        state.refresh(id);
    }
    let found = state.authentication(caller, id).ok_or_else(Refusal::not_found)?;
    let mut full = found.metadata();
    full.insert("userData".into(), found.body.user_data.clone().into());
    full.insert("credentials".into(), found.body.credentials.clone().into());
    Ok(ok(full.into()))
}

pub(super) fn delete(state: &mut State, caller: Account, id: Uuid) -> Outcome {
    state.remove(caller, id).map(|_| Reply::Deleted).ok_or_else(Refusal::not_found)
}

/// The body of a POST. What may be absent may not be null: the contract gives each field one type.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CreateBody {
    name: String,
    service_environment_id: Uuid,
    #[serde(default)]
    user_data: Map<String, Value>,
    #[serde(default, deserialize_with = "present")]
    credentials: Option<Map<String, Value>>,
    #[serde(default, deserialize_with = "present")]
    scopes: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    on_prem_agent_group_id: Option<Uuid>,
}

/// The body of a PUT: the whole of it as it should be afterwards.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ReplaceBody {
    name: String,
    credentials: Map<String, Value>,
    #[serde(default)]
    user_data: Map<String, Value>,
    #[serde(default, deserialize_with = "present")]
    scopes: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    on_prem_agent_group_id: Option<Uuid>,
}

fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

pub(super) fn create(state: &mut State, caller: Account, body: &[u8]) -> Outcome {
    let body: CreateBody = parse(body)?;
    let credentials_given = body.credentials.is_some();
    let draft = Draft {
        name: body.name,
        service_environment_id: body.service_environment_id,
        credentials: body.credentials.unwrap_or_default(),
        user_data: body.user_data,
        scopes: body.scopes,
        on_prem_agent_group_id: body.on_prem_agent_group_id,
    };
    check(state, &draft, credentials_given)?;
    let id = state.create(caller, Origin::Rest, draft);
    Ok(ok(json!({"id": id})))
}

pub(super) fn replace(state: &mut State, caller: Account, id: Uuid, body: &[u8]) -> Outcome {
    let service_environment_id =
        state.authentication(caller, id).ok_or_else(Refusal::not_found)?.body.service_environment_id;
    let body: ReplaceBody = parse(body)?;
    let draft = Draft {
        name: body.name,
        service_environment_id,
        credentials: body.credentials,
        user_data: body.user_data,
        scopes: body.scopes,
        on_prem_agent_group_id: body.on_prem_agent_group_id,
    };
    check(state, &draft, true)?;
    let found = state.authentication_mut(caller, id).ok_or_else(Refusal::not_found)?;
    found.body = draft;
    Ok(ok(found.metadata().into()))
}

/// A 400 quotes the request, as the contract warns.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body)
        .map_err(|error| Refusal::bad(format!("{error}; received {}", String::from_utf8_lossy(body))))
}

/// Only form and schema are checked: a wrong API key passes. Credentials that a POST leaves out are not checked.
fn check(state: &State, draft: &Draft, credentials_given: bool) -> Result<(), Refusal> {
    if draft.name.is_empty() {
        return Err(Refusal::bad("name must not be empty"));
    }
    if let Some(scopes) = &draft.scopes
        && let Some(repeated) = scopes.iter().enumerate().find(|(index, scope)| scopes[..*index].contains(scope))
    {
        return Err(Refusal::bad(format!("scopes must be unique: {} is repeated", repeated.1)));
    }
    let (_, environment) = state.catalogue.environment(draft.service_environment_id).ok_or_else(Refusal::not_found)?;
    environment.user_data.check("userData", &draft.user_data).map_err(Refusal::bad)?;
    if credentials_given {
        environment.credentials.check("credentials", &draft.credentials).map_err(Refusal::bad)?;
    }
    Ok(())
}
