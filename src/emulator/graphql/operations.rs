//! What each GraphQL operation does.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::emulator::access::Account;
use crate::emulator::call::Call;
use crate::emulator::page::{Page, Window};
use crate::emulator::state::{Authentication, Draft, State};
use crate::emulator::views::Origin;

use super::GraphqlError;
use super::syntax::Field;

type Outcome = Result<Value, GraphqlError>;

/// Performs a recognised call and gives its root field's value in full.
pub(super) fn perform(state: &mut State, caller: Account, call: Call, field: &Field) -> Outcome {
    match call {
        Call::ListUsers => list_users(state, caller, field),
        Call::ListAuthentications => list_authentications(state, caller, field),
        Call::CreateExternalUser => create_external_user(state, caller, field),
        Call::Authorize => authorize(state, caller, field),
        Call::CreateUserAuthentication => create_user_authentication(state, caller, field),
        Call::RemoveAuthentication => remove_authentication(state, caller, field),
        _ => Err(GraphqlError::invalid("not a GraphQL operation")),
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct ConnectionArguments {
    first: Option<i64>,
    after: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UsersArguments {
    first: Option<i64>,
    after: Option<String>,
    criteria: Option<Criteria>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Criteria {
    user_id: Option<String>,
    external_user_id: Option<String>,
}

fn list_users(state: &State, caller: Account, field: &Field) -> Outcome {
    master_only(caller)?;
    let arguments: UsersArguments = arguments(&field.arguments)?;
    let criteria = arguments.criteria.unwrap_or_default();
    let nodes = state
        .users
        .iter()
        .filter(|user| criteria.user_id.as_ref().is_none_or(|id| *id == user.id.to_string()))
        .filter(|user| criteria.external_user_id.as_ref().is_none_or(|id| *id == user.external_user_id))
        .map(|user| {
            (user.sequence, json!({"id": user.id, "name": user.name, "externalUserId": user.external_user_id}))
        });
    connection("users", nodes, ConnectionArguments { first: arguments.first, after: arguments.after }, state.page_cap)
}

/// Every token lists, each its own: a master token the organisation's, not the end users'.
fn list_authentications(state: &State, caller: Account, field: &Field) -> Outcome {
    let listed = field.selection.iter().find(|field| field.name == "authentications");
    let arguments = listed.map(|field| arguments(&field.arguments)).transpose()?.unwrap_or_default();
    let nodes = state
        .authentications
        .iter()
        .filter(|found| found.owner == caller)
        .map(|found| (found.sequence, authentication_node(state, found)));
    Ok(json!({"authentications": connection("authentications", nodes, arguments, state.page_cap)?}))
}

fn authentication_node(state: &State, found: &Authentication) -> Value {
    let placed = state.catalogue.environment(found.body.service_environment_id);
    let service = placed.map(|(service, _)| {
        json!({
            "id": service.id,
            "name": service.blueprint.name,
            "icon": format!("https://icons.example/{}.svg", service.blueprint.name),
            "title": service.blueprint.title,
            "version": service.blueprint.version.to_string(),
        })
    });
    let shown = found.is_listed_in_full.then_some(());
    let environment =
        shown.and(placed).map(|(_, environment)| json!({"id": environment.id, "title": environment.title}));
    json!({
        "id": found.id,
        "name": found.body.name,
        "customFields": shown.map(|()| json!({"identification": {"name": found.body.name}})),
        "service": service,
        "serviceEnvironment": environment,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CreateExternalUser {
    name: String,
    external_user_id: String,
    #[serde(default)]
    is_test_user: bool,
}

fn create_external_user(state: &mut State, caller: Account, field: &Field) -> Outcome {
    master_only(caller)?;
    let asked: CreateExternalUser = input(field)?;
    if state.users.iter().any(|user| user.external_user_id == asked.external_user_id) {
        return Err(GraphqlError::precondition("user_already_exists", "A user with this external id already exists"));
    }
    let id = state.add_user(asked.name, asked.external_user_id, asked.is_test_user);
    Ok(json!({"userId": id, "clientMutationId": null}))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Authorize {
    user_id: String,
}

fn authorize(state: &mut State, caller: Account, field: &Field) -> Outcome {
    master_only(caller)?;
    let asked: Authorize = input(field)?;
    let user = state.users.iter().find(|user| user.id.to_string() == asked.user_id).map(|user| user.id);
    let user = user.ok_or_else(|| GraphqlError::precondition("user_does_not_exist", "User does not exist"))?;
    Ok(json!({"accessToken": state.mint_user_token(user), "clientMutationId": null}))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CreateUserAuthentication {
    name: String,
    service_id: Uuid,
    service_environment_id: Uuid,
    data: String,
    #[serde(default)]
    scopes: Option<Vec<String>>,
    /// Only Tray's UI heeds it.
    #[serde(default, rename = "hidden")]
    _hidden: bool,
}

fn create_user_authentication(state: &mut State, caller: Account, field: &Field) -> Outcome {
    user_only(caller)?;
    let asked: CreateUserAuthentication = input(field)?;
    let credentials: Map<String, Value> = serde_json::from_str(&asked.data)
        .map_err(|_| GraphqlError::invalid(format!("data must be an object in JSON, not {}", asked.data)))?;
    let missing = || GraphqlError::precondition("resource_does_not_exist", "Service environment does not exist");
    let (service, environment) = state.catalogue.environment(asked.service_environment_id).ok_or_else(missing)?;
    if service.id != asked.service_id {
        return Err(missing());
    }
    environment.credentials.check("data", &credentials).map_err(GraphqlError::invalid)?;
    let draft = Draft {
        name: asked.name,
        service_environment_id: asked.service_environment_id,
        credentials,
        user_data: Map::new(),
        scopes: asked.scopes,
        on_prem_agent_group_id: None,
    };
    let id = state.create(caller, Origin::Graphql, draft);
    Ok(json!({"authenticationId": id, "clientMutationId": null}))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RemoveAuthentication {
    authentication_id: String,
}

fn remove_authentication(state: &mut State, caller: Account, field: &Field) -> Outcome {
    user_only(caller)?;
    let asked: RemoveAuthentication = input(field)?;
    let id = Uuid::parse_str(&asked.authentication_id).ok();
    match id.and_then(|id| state.remove(caller, id)) {
        Some(_) => Ok(json!({"clientMutationId": null})),
        None => Err(GraphqlError::precondition("resource_does_not_exist", "Authentication does not exist")),
    }
}

fn connection(
    name: &'static str,
    nodes: impl Iterator<Item = (u64, Value)>,
    arguments: ConnectionArguments,
    cap: u64,
) -> Outcome {
    let first = match arguments.first.map(u64::try_from).transpose() {
        Ok(first) => first,
        Err(_) => Some(0),
    };
    let window = Window { first, after: arguments.after };
    let page = Page::cut(name, nodes, &window, cap).map_err(|error| GraphqlError::invalid(error.to_string()))?;
    Ok(page.into_connection())
}

fn master_only(caller: Account) -> Result<(), GraphqlError> {
    if caller == Account::Organisation { Ok(()) } else { Err(GraphqlError::not_allowed()) }
}

fn user_only(caller: Account) -> Result<(), GraphqlError> {
    if matches!(caller, Account::User(_)) { Ok(()) } else { Err(GraphqlError::not_allowed()) }
}

/// A mutation's one argument, `input`.
fn input<T: DeserializeOwned>(field: &Field) -> Result<T, GraphqlError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wrapped {
        input: Value,
    }
    let wrapped: Wrapped = arguments(&field.arguments)?;
    serde_json::from_value(wrapped.input).map_err(|error| GraphqlError::invalid(error.to_string()))
}

fn arguments<T: DeserializeOwned>(arguments: &Map<String, Value>) -> Result<T, GraphqlError> {
    serde_json::from_value(arguments.clone().into()).map_err(|error| GraphqlError::invalid(error.to_string()))
}
