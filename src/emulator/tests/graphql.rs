//! The GraphQL operations.

use super::*;
use crate::emulator::{Call, Origin};

const USERS: &str = "query ($first: Int, $after: String, $criteria: UserSearchCriteria) {
    users(first: $first, after: $after, criteria: $criteria) {
        edges { node { id name externalUserId } cursor }
        pageInfo { hasNextPage endCursor hasPreviousPage startCursor }
    }
}";
const AUTHENTICATIONS: &str = "query ($first: Int, $after: String) {
    viewer { authentications(first: $first, after: $after) {
        edges { node {
            id name customFields service { id name icon title version } serviceEnvironment { id title }
        } cursor }
        pageInfo { hasNextPage endCursor hasPreviousPage startCursor }
    } }
}";
const CREATE_USER: &str =
    "mutation ($input: CreateExternalUserInput!) { createExternalUser(input: $input) { userId } }";
const AUTHORIZE: &str = "mutation ($input: AuthorizeInput!) { authorize(input: $input) { accessToken } }";
const CREATE: &str = "mutation ($input: CreateUserAuthenticationInput!) {
    createUserAuthentication(input: $input) { authenticationId }
}";
const REMOVE: &str =
    "mutation ($input: RemoveAuthenticationInput!) { removeAuthentication(input: $input) { clientMutationId } }";

#[tokio::test]
async fn users_come_in_pages_and_by_criteria() {
    let tray = Tray::with(Config { users: 7, limit: None, ..Config::default() }).await;
    let mut seen = Vec::new();
    let mut after = Value::Null;
    loop {
        let answer = tray.graphql(&tray.master(), USERS, json!({"first": 3, "after": after})).await.json();
        let users = &answer["data"]["users"];
        seen.extend(users["edges"].as_array().unwrap().iter().map(|edge| edge["node"]["externalUserId"].clone()));
        after = users["pageInfo"]["endCursor"].clone();
        if users["pageInfo"]["hasNextPage"] == false {
            break;
        }
    }
    assert_eq!(json!(seen), json!(["acme-1", "acme-2", "acme-3", "acme-4", "acme-5", "acme-6", "acme-7"]));
    for criteria in [json!({"externalUserId": "acme-5"}), json!({"userId": tray.user("acme-5")})] {
        let answer = tray.graphql(&tray.master(), USERS, json!({"criteria": criteria})).await.json();
        let edges = answer["data"]["users"]["edges"].as_array().unwrap().clone();
        assert_eq!((edges.len(), &edges[0]["node"]["externalUserId"]), (1, &json!("acme-5")));
    }
}

#[tokio::test]
async fn pages_neither_skip_nor_repeat_when_entries_go() {
    let tray = Tray::with(Config { authentications_per_user: 5, limit: None, ..Config::default() }).await;
    tray.world().cap_pages(2);
    let token = tray.user_token("acme-1");
    let ids = |answer: &Value| {
        let edges = answer["data"]["viewer"]["authentications"]["edges"].as_array().unwrap().clone();
        edges.iter().map(|edge| edge["node"]["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let first = tray.graphql(&token, AUTHENTICATIONS, json!({"first": 100})).await.json();
    let listed = ids(&first);
    assert_eq!(listed.len(), 2);
    tray.world().remove_authentication(listed[1].parse().unwrap());
    let after = &first["data"]["viewer"]["authentications"]["pageInfo"]["endCursor"];
    let second = ids(&tray.graphql(&token, AUTHENTICATIONS, json!({"first": 100, "after": after})).await.json());
    assert_eq!(second.len(), 2);
    assert!(second.iter().all(|id| !listed.contains(id)));
}

#[tokio::test]
async fn a_bad_cursor_or_size_is_an_error() {
    let tray = Tray::start().await;
    let users = tray.graphql(&tray.master(), USERS, json!({"first": 1})).await.json();
    let of_users = &users["data"]["users"]["pageInfo"]["endCursor"];
    for variables in
        [json!({"after": "nonsense"}), json!({"after": of_users}), json!({"first": 0}), json!({"first": -1})]
    {
        let answer = tray.graphql(&tray.master(), AUTHENTICATIONS, variables).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.graphql_error(), ("GraphQLError".to_owned(), None));
        assert_eq!(answer.json()["data"], Value::Null);
    }
}

#[tokio::test]
async fn each_token_lists_its_own_authentications() {
    let tray = Tray::start().await;
    let organisations_own = tray.create_slack(&tray.master(), "Organisation's own").await.id();
    for (token, owner) in [
        (tray.user_token("acme-1"), Account::User(tray.user("acme-1"))),
        (tray.api_user(), Account::Workspace(tray.world().shared_workspace())),
        (tray.master(), Account::Organisation),
    ] {
        let answer = tray.graphql(&token, AUTHENTICATIONS, json!({})).await.json();
        let edges = answer["data"]["viewer"]["authentications"]["edges"].as_array().unwrap().clone();
        let listed: Vec<Value> = edges.iter().map(|edge| edge["node"]["id"].clone()).collect();
        let world = tray.world().authentications();
        let expected: Vec<Value> = world.iter().filter(|it| it.owner == owner).map(|it| json!(it.id)).collect();
        assert_eq!(listed, expected);
        assert!(!listed.is_empty());
        assert!(edges.iter().all(|edge| edge["node"]["service"]["version"].is_string()));
    }
    assert_eq!(tray.world().authentication(organisations_own).unwrap().origin, Origin::Rest);
    let shared = tray.graphql(&tray.api_user(), AUTHENTICATIONS, json!({})).await.json();
    let edges = &shared["data"]["viewer"]["authentications"]["edges"];
    assert_eq!(edges[0]["node"]["serviceEnvironment"]["title"], "Acme CRM app");
    assert_eq!(edges[1]["node"]["serviceEnvironment"], Value::Null);
    assert_eq!(edges[1]["node"]["customFields"], Value::Null);
}

#[tokio::test]
async fn a_user_is_created_and_authorized_and_uses_the_older_calls() {
    let tray = Tray::start().await;
    let new = json!({"input": {"name": "New", "externalUserId": "new-1", "isTestUser": true}});
    let created = tray.graphql(&tray.master(), CREATE_USER, new.clone()).await.json();
    let user = created["data"]["createExternalUser"]["userId"].clone();
    assert_eq!(user, json!(tray.user("new-1")));
    let again = tray.graphql(&tray.master(), CREATE_USER, new).await.graphql_error();
    assert_eq!(again, ("PreconditionError".to_owned(), Some("user_already_exists".to_owned())));

    let authorized = tray.graphql(&tray.master(), AUTHORIZE, json!({"input": {"userId": user}})).await.json();
    let token = authorized["data"]["authorize"]["accessToken"].as_str().unwrap().to_owned();
    let nobody = tray.graphql(&tray.master(), AUTHORIZE, json!({"input": {"userId": Uuid::nil()}})).await;
    assert_eq!(nobody.graphql_error().1.as_deref(), Some("user_does_not_exist"));

    let slack = tray.world().environments().into_iter().find(|it| it.service == "slack").unwrap();
    let input = |data: &str| {
        json!({"input": {
            "name": "Older way", "serviceId": slack.service_id, "serviceEnvironmentId": slack.id,
            "data": data, "scopes": [], "hidden": false,
        }})
    };
    let made = tray.graphql(&token, CREATE, input(r#"{"accessToken": "x"}"#)).await.json();
    let id = made["data"]["createUserAuthentication"]["authenticationId"].clone();
    let found = tray.world().authentication(serde_json::from_value(id.clone()).unwrap()).unwrap();
    assert_eq!((found.origin, &found.credentials), (Origin::Graphql, &json!({"accessToken": "x"})));
    for data in ["not json", "[]", "{}"] {
        assert_eq!(tray.graphql(&token, CREATE, input(data)).await.graphql_error().0, "GraphQLError");
    }

    let removal = json!({"input": {"authenticationId": id}});
    assert!(tray.graphql(&token, REMOVE, removal.clone()).await.json().get("errors").is_none());
    let gone = tray.graphql(&token, REMOVE, removal).await.graphql_error();
    assert_eq!(gone.1.as_deref(), Some("resource_does_not_exist"));
}

#[tokio::test]
async fn a_valid_token_of_the_wrong_kind_is_a_precondition_error() {
    let tray = Tray::start().await;
    let user = tray.user_token("acme-1");
    let input = json!({"input": {"userId": tray.user("acme-1")}});
    let removal = json!({"input": {"authenticationId": tray.first_of(Account::User(tray.user("acme-1")))}});
    for (token, query, variables) in [
        (&user, USERS, json!({})),
        (&tray.api_user(), USERS, json!({})),
        (&user, AUTHORIZE, input.clone()),
        (&tray.api_user(), AUTHORIZE, input),
        (&user, CREATE_USER, json!({"input": {"name": "n", "externalUserId": "e", "isTestUser": false}})),
        (&tray.api_user(), REMOVE, removal.clone()),
        (&tray.master(), REMOVE, removal),
    ] {
        let answer = tray.graphql(token, query, variables).await;
        assert_eq!(answer.status, StatusCode::OK);
        let expected = ("PreconditionError".to_owned(), Some("access_not_allowed".to_owned()));
        assert_eq!(answer.graphql_error(), expected, "{query}");
        assert_ne!(answer.json()["errors"][0]["message"], "Rate limit exceeded");
    }
}

#[tokio::test]
async fn an_unknown_operation_field_or_argument_is_a_graphql_error() {
    let tray = Tray::start().await;
    for query in [
        "{ workflows { edges { cursor } } }",
        "mutation { users { edges { cursor } } }",
        "{ viewer { secrets } }",
        "{ viewer { authentications } }",
        "{ users { edges { node { password } } } }",
        "{ users(last: 3) { edges { cursor } } }",
        "mutation { authorize(input: {user: \"1\"}) { accessToken } }",
        "not graphql",
    ] {
        let answer = tray.graphql(&tray.master(), query, json!({})).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.graphql_error().0, "GraphQLError", "{query}");
    }
    for selection in ["", "{ id }"] {
        let query =
            format!("mutation {{ createExternalUser(input: {{name: \"n\", externalUserId: \"n\"}}) {selection} }}");
        let answer = tray.graphql(&tray.master(), &query, json!({})).await;
        assert_eq!(answer.graphql_error().0, "GraphQLError");
        assert_eq!(tray.world().user("n"), None);
    }
    let aliased =
        tray.graphql(&tray.master(), "{ everyone: users(first: 1) { edges { node { who: name } } } }", json!({})).await;
    assert_eq!(aliased.json(), json!({"data": {"everyone": {"edges": [{"node": {"who": "Acme 1"}}]}}}));
    assert_eq!(tray.world().requests(Call::Unknown), 5);
}
