//! Connectors, service environments and workspaces over REST.

use serde_json::json;

use crate::emulator::access::Account;
use crate::emulator::page::{Page, Window};
use crate::emulator::state::State;
use crate::emulator::views::WorkspaceTypeForm;

use super::{Outcome, Refusal, ok};

pub(super) fn connectors(state: &State, caller: Account) -> Outcome {
    for_integrators(caller)?;
    Ok(ok(state.catalogue.connectors()))
}

pub(super) fn environments(state: &State, caller: Account, service: &str, version: u32) -> Outcome {
    for_integrators(caller)?;
    let service = state.catalogue.service(service, version).ok_or_else(Refusal::not_found)?;
    Ok(ok(service.environment_list()))
}

/// The contract names master and user tokens for the catalogue, and no other.
fn for_integrators(caller: Account) -> Result<(), Refusal> {
    match caller {
        Account::Organisation | Account::User(_) => Ok(()),
        Account::Workspace(_) => Err(Refusal::forbidden()),
    }
}

/// Every workspace for the organisation's token, exactly one for any other.
pub(super) fn workspaces(state: &State, caller: Account, window: &Window) -> Outcome {
    let visible =
        state.workspaces.iter().filter(|workspace| caller == Account::Organisation || workspace.account == caller).map(
            |workspace| {
                let kind = match state.workspace_type_form {
                    WorkspaceTypeForm::Title => json!(workspace.kind),
                    WorkspaceTypeForm::Upper => json!(workspace.kind.to_uppercase()),
                    WorkspaceTypeForm::Object => json!({"name": workspace.kind}),
                };
                (workspace.sequence, json!({"id": workspace.id, "name": workspace.name, "type": kind}))
            },
        );
    let page =
        Page::cut("workspaces", visible, window, state.page_cap).map_err(|error| Refusal::bad(error.to_string()))?;
    Ok(ok(page.into_elements()))
}
