//! Connectors, service environments and workspaces.

use super::*;
use crate::emulator::WorkspaceTypeForm;

#[tokio::test]
async fn each_connector_leads_to_its_environments() {
    let tray = Tray::start().await;
    let connectors = tray.get(&tray.master(), "/core/v1/connectors").await.json();
    let mut sloppy = String::new();
    for connector in connectors["elements"].as_array().unwrap() {
        assert!(connector["version"].is_string());
        let (name, version) = (connector["service"]["name"].as_str().unwrap(), &connector["service"]["version"]);
        assert!(version.is_u64());
        let path = format!("/core/v1/services/{name}/versions/{version}/environments");
        let environments = tray.get(&tray.master(), &path).await.json();
        assert_eq!(environments["elements"][0]["title"], "Production");
        sloppy += &environments.to_string();
    }
    for trait_of_schemas in [
        "draft-03",
        "draft-04",
        "tytpe",
        "advanced",
        "lookup",
        "\"format\":\"password\"",
        "\"required\":true",
        "\"credentialsSchema\":{},",
        "\"description\"",
        "strng",
    ] {
        assert!(sloppy.contains(trait_of_schemas), "{trait_of_schemas}");
    }
    assert!(!sloppy.contains("$schema"));
    let other = tray.get(&tray.master(), "/core/v1/services/slack/versions/9/environments").await;
    assert_eq!(other.status, StatusCode::NOT_FOUND);
    let malformed = tray.get(&tray.master(), "/core/v1/services/slack/versions/2.0/environments").await;
    assert_eq!(malformed.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn an_organisation_sees_every_workspace_and_others_their_one() {
    let tray = Tray::start().await;
    let all = tray.get(&tray.master(), "/core/v1/workspaces?first=100").await.json();
    let kinds: Vec<&str> = all["elements"].as_array().unwrap().iter().map(|it| it["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        ["Organization", "Shared", "Personal", "PersonalExternal", "PersonalExternal", "PersonalExternal"]
    );
    for (token, kind) in [
        (tray.api_user(), "Shared"),
        (tray.emulator.tokens().personal_api_user.clone(), "Personal"),
        (tray.user_token("acme-1"), "PersonalExternal"),
    ] {
        let own = tray.get(&token, "/core/v1/workspaces").await.json();
        assert_eq!(own["elements"].as_array().unwrap().len(), 1);
        assert_eq!(own["elements"][0]["type"], kind);
    }
}

#[tokio::test]
async fn a_workspace_tells_its_type_in_every_form() {
    let tray = Tray::start().await;
    for (form, expected) in [
        (WorkspaceTypeForm::Title, json!("Shared")),
        (WorkspaceTypeForm::Upper, json!("SHARED")),
        (WorkspaceTypeForm::Object, json!({"name": "Shared"})),
    ] {
        tray.world().set_workspace_type_form(form);
        let own = tray.get(&tray.api_user(), "/core/v1/workspaces").await.json();
        assert_eq!(own["elements"][0]["type"], expected);
    }
}

#[tokio::test]
async fn workspaces_come_in_pages() {
    let tray = Tray::start().await;
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = tray.get(&tray.master(), &format!("/core/v1/workspaces?first=4{cursor}")).await.json();
        seen.extend(page["elements"].as_array().unwrap().iter().map(|it| it["id"].to_string()));
        assert_eq!(page["pageInfo"]["hasPreviousPage"], !cursor.is_empty());
        if page["pageInfo"]["hasNextPage"] == false {
            break;
        }
        cursor = format!("&cursor={}", page["pageInfo"]["endCursor"].as_str().unwrap());
    }
    assert_eq!(seen.len(), 6);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 6);
    for query in ["cursor=nonsense", "first=0", "first=x"] {
        let answer = tray.get(&tray.master(), &format!("/core/v1/workspaces?{query}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
    }
}
