//! What [`World`] offers, over HTTP under `/_emulator/`, for those in another process. No token, no limits, not counted.

use axum::Router;
use axum::extract::{Json, Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, patch, post};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::fault::Fault;
use super::limit::Limit;
use super::views::{Alteration, NewAuthentication, WorkspaceTypeForm};
use super::world::World;

pub(super) fn router() -> Router<World> {
    Router::new()
        .route("/state", get(state))
        .route("/tokens", get(tokens))
        .route("/tokens/expire", post(expire_tokens))
        .route("/secrets", get(secrets))
        .route("/environments", get(environments))
        .route("/creations", get(creations))
        .route("/faults", post(add_fault).delete(clear_faults))
        .route("/full-read", post(set_full_read))
        .route("/limit", post(set_limit))
        .route("/pages", post(cap_pages))
        .route("/workspace-type", post(set_workspace_type_form))
        .route("/users", get(users).post(add_user))
        .route("/authentications", get(authentications).post(add_authentication))
        .route("/authentications/{id}", patch(alter_authentication).delete(remove_authentication))
        .route("/authentications/{id}/reissue", post(reissue_authentication))
}

async fn state(State(world): State<World>) -> impl IntoResponse {
    Json(world.state())
}

async fn tokens(State(world): State<World>) -> impl IntoResponse {
    Json(world.with(|state| state.tokens.clone()))
}

async fn expire_tokens(State(world): State<World>) -> StatusCode {
    world.expire_user_tokens();
    StatusCode::NO_CONTENT
}

async fn secrets(State(world): State<World>) -> impl IntoResponse {
    Json(world.secrets())
}

async fn environments(State(world): State<World>) -> impl IntoResponse {
    Json(world.environments())
}

async fn creations(State(world): State<World>) -> impl IntoResponse {
    Json(world.creations())
}

async fn add_fault(State(world): State<World>, Json(fault): Json<Fault>) -> StatusCode {
    world.add_fault(fault);
    StatusCode::NO_CONTENT
}

async fn clear_faults(State(world): State<World>) -> StatusCode {
    world.clear_faults();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FullRead {
    enabled: bool,
}

async fn set_full_read(State(world): State<World>, Json(full_read): Json<FullRead>) -> StatusCode {
    world.set_full_read(full_read.enabled);
    StatusCode::NO_CONTENT
}

/// `null` switches the limits off.
async fn set_limit(State(world): State<World>, Json(limit): Json<Option<Limit>>) -> StatusCode {
    world.set_limit(limit);
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pages {
    cap: u64,
}

async fn cap_pages(State(world): State<World>, Json(pages): Json<Pages>) -> StatusCode {
    world.cap_pages(pages.cap);
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkspaceType {
    form: WorkspaceTypeForm,
}

async fn set_workspace_type_form(State(world): State<World>, Json(chosen): Json<WorkspaceType>) -> StatusCode {
    world.set_workspace_type_form(chosen.form);
    StatusCode::NO_CONTENT
}

async fn users(State(world): State<World>) -> impl IntoResponse {
    Json(world.users())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewUser {
    external_user_id: String,
    name: String,
}

async fn add_user(State(world): State<World>, Json(user): Json<NewUser>) -> impl IntoResponse {
    Json(json!({"id": world.add_user(&user.external_user_id, &user.name)}))
}

async fn authentications(State(world): State<World>) -> impl IntoResponse {
    Json(world.authentications())
}

async fn add_authentication(
    State(world): State<World>,
    Json(new): Json<NewAuthentication>,
) -> Result<impl IntoResponse, StatusCode> {
    let id = world.add_authentication(new).ok_or(StatusCode::NOT_FOUND)?;
    Ok(Json(json!({"id": id})))
}

async fn alter_authentication(
    State(world): State<World>,
    Path(id): Path<Uuid>,
    Json(alteration): Json<Alteration>,
) -> StatusCode {
    done(world.alter_authentication(id, alteration))
}

async fn remove_authentication(State(world): State<World>, Path(id): Path<Uuid>) -> StatusCode {
    done(world.remove_authentication(id))
}

async fn reissue_authentication(State(world): State<World>, Path(id): Path<Uuid>) -> StatusCode {
    done(world.reissue_authentication(id))
}

fn done(found: bool) -> StatusCode {
    if found { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}
