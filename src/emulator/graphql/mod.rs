//! The GraphQL calls: the few operations of the contract, recognised without a general engine. What comes back is
//! narrowed to what the query selects, so a client sees only what it asked for.

mod operations;
mod syntax;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::access::caller;
use super::call::Call;
use super::exchange::{self, Dialect, Reply};
use super::world::World;
use syntax::{Field, Kind, Operation};

/// An error in the form of the contract.
#[derive(Debug)]
struct GraphqlError {
    message: String,
    extensions: Value,
}

/// The body of a request.
#[derive(Deserialize)]
struct Posted {
    query: String,
    #[serde(default)]
    variables: Option<Map<String, Value>>,
}

pub(super) async fn answer(State(world): State<World>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = exchange::read_body(body).await;
    let operation = body.as_deref().map(recognise);
    let call = match &operation {
        Some(Ok((call, _))) => *call,
        Some(Err(_)) | None => Call::Unknown,
    };
    let work = async {
        let Some(operation) = operation else {
            return Reply::Json(StatusCode::PAYLOAD_TOO_LARGE, json!({"message": "Payload too large", "code": null}));
        };
        let Some(caller) = world.with(|state| caller(state, &head.headers)) else {
            let error = GraphqlError::invalid("Unauthorized");
            return Reply::Json(StatusCode::UNAUTHORIZED, error.into_answer(None));
        };
        let outcome = operation.map_err(|error| (None, error)).and_then(|(call, field)| {
            let outcome = world.with(|state| operations::perform(state, caller, call, &field));
            let narrowed = outcome.and_then(|value| narrow(value, &field).map_err(GraphqlError::invalid));
            let key = field.key().to_owned();
            narrowed.map(|value| (key.clone(), value)).map_err(|error| (Some(key), error))
        });
        let answer = match outcome {
            Ok((key, value)) => json!({"data": {key: value}}),
            Err((path, error)) => error.into_answer(path),
        };
        Reply::Json(StatusCode::OK, answer)
    };
    exchange::answer(&world, call, Dialect::Graphql, work).await
}

/// Which call of the contract a body asks for, and its root field.
fn recognise(body: &[u8]) -> Result<(Call, Field), GraphqlError> {
    let posted: Posted = serde_json::from_slice(body)
        .map_err(|_| GraphqlError::invalid("the body must be an object with a query and, if need be, variables"))?;
    let operation =
        syntax::parse(&posted.query, &posted.variables.unwrap_or_default()).map_err(GraphqlError::invalid)?;
    let Operation { kind, field } = operation;
    let call = match (kind, field.name.as_str()) {
        (Kind::Query, "users") => Call::ListUsers,
        (Kind::Query, "viewer") => Call::ListAuthentications,
        (Kind::Mutation, "createExternalUser") => Call::CreateExternalUser,
        (Kind::Mutation, "authorize") => Call::Authorize,
        (Kind::Mutation, "createUserAuthentication") => Call::CreateUserAuthentication,
        (Kind::Mutation, "removeAuthentication") => Call::RemoveAuthentication,
        (kind, name) => {
            return Err(GraphqlError::invalid(format!(
                "Cannot query field \"{name}\" on type \"{}\".",
                kind.type_name()
            )));
        }
    };
    if kind == Kind::Mutation {
        check_payload(call, &field).map_err(GraphqlError::invalid)?;
    }
    Ok((call, field))
}

/// A wrong selection must be refused before a mutation does its work; a query's can wait for [`narrow`].
fn check_payload(call: Call, field: &Field) -> Result<(), String> {
    let payload = match call {
        Call::CreateExternalUser => "userId",
        Call::Authorize => "accessToken",
        Call::CreateUserAuthentication => "authenticationId",
        _ => "clientMutationId",
    };
    let stranger = field.selection.iter().find(|wanted| wanted.name != payload && wanted.name != "clientMutationId");
    match stranger {
        Some(stranger) => Err(format!("Cannot query field \"{}\" of \"{}\".", stranger.name, field.name)),
        None if field.selection.is_empty() => Err(format!("Field \"{}\" must have a selection.", field.name)),
        None => Ok(()),
    }
}

/// What the selection leaves of a value; a field that the value lacks is an error, as in GraphQL.
fn narrow(value: Value, field: &Field) -> Result<Value, String> {
    if field.selection.is_empty() {
        let is_leaf = !(value.is_object() || value.is_array()) || field.name == "customFields";
        return if is_leaf { Ok(value) } else { Err(format!("Field \"{}\" must have a selection.", field.name)) };
    }
    match value {
        Value::Array(items) => {
            items.into_iter().map(|item| narrow(item, field)).collect::<Result<_, _>>().map(Value::Array)
        }
        Value::Object(fields) => {
            let mut narrowed = Map::new();
            for wanted in &field.selection {
                let value = fields.get(&wanted.name).cloned();
                let value =
                    value.ok_or_else(|| format!("Cannot query field \"{}\" of \"{}\".", wanted.name, field.name))?;
                narrowed.insert(wanted.key().to_owned(), narrow(value, wanted)?);
            }
            Ok(Value::Object(narrowed))
        }
        Value::Null => Ok(Value::Null),
        _ => Err(format!("Field \"{}\" must not have a selection.", field.name)),
    }
}

impl GraphqlError {
    /// The request itself is wrong.
    fn invalid(message: impl Into<String>) -> Self {
        Self { message: message.into(), extensions: json!({"name": "GraphQLError"}) }
    }

    /// The request is right but can't be granted.
    fn precondition(code: &str, message: impl Into<String>) -> Self {
        Self { message: message.into(), extensions: json!({"name": "PreconditionError", "code": code}) }
    }

    fn not_allowed() -> Self {
        Self::precondition("access_not_allowed", "You are not allowed to do this")
    }

    fn into_answer(self, path: Option<String>) -> Value {
        let mut error = json!({"message": exchange::quoting(&self.message), "extensions": self.extensions});
        if let Some(path) = path {
            error["path"] = json!([path]);
            error["locations"] = json!([{"line": 1, "column": 1}]);
        }
        json!({"data": null, "errors": [error]})
    }
}
