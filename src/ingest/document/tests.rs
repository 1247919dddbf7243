//! Documents that are read, and the reasons why others are not.

use super::*;

const CANARY: &str = "s3cr3t-canary";

fn secret(text: &str) -> SecretBytes {
    SecretBytes::new(text.as_bytes().to_vec())
}

fn refusal(text: &str) -> Refusal {
    Document::parse(&secret(text)).err().unwrap_or_else(|| panic!("accepted: {text}"))
}

const CREATE: &str = r#"{ "version": 1, "action": "create",
    "name": "Acme", "user": {"externalUserId": "acme-42"},
    "service": {"name": "salesforce", "version": 3}, "environment": "Production",
    "userData": {}, "credentials": {"access_token": "s3cr3t-canary"}, "scopes": ["api"] }"#;

#[test]
fn the_example_is_read() {
    let bytes = secret(CREATE);
    let document = Document::parse(&bytes).unwrap_or_else(|refusal| panic!("{refusal:?}"));
    assert_eq!(document.user, UserReference::ExternalId(ExternalUserId("acme-42".to_owned())));
    assert_eq!(document.action(), Action::Create);
    let Request::Create(whole) = document.request else { panic!("a create") };
    assert_eq!(whole.environment, EnvironmentReference::Title("Production".to_owned()));
    assert_eq!(whole.service, Some(ServiceReference { name: "salesforce".to_owned(), version: 3 }));
    assert_eq!(whole.credentials.get(), r#"{"access_token": "s3cr3t-canary"}"#);
}

#[test]
fn an_error_says_where_and_never_what() {
    let cases = [
        (CREATE.replace("\"version\": 1", "\"version\": \"s3cr3t-canary\""), "/version"),
        (CREATE.replace("\"version\": 1", "\"version\": 2"), "/version"),
        (CREATE.replace("\"create\"", "\"s3cr3t-canary\""), "/action"),
        (CREATE.replace("\"Acme\"", "[\"s3cr3t-canary\"]"), "/name"),
        (CREATE.replace("\"Acme\"", "null"), "/name"),
        (CREATE.replace("\"Acme\"", "\"  \""), "/name"),
        (CREATE.replace("{\"externalUserId\": \"acme-42\"}", "\"s3cr3t-canary\""), "/user"),
        (
            CREATE.replace("\"externalUserId\": \"acme-42\"", "\"userId\":\"s3cr3t-canary\",\"externalUserId\":\"x\""),
            "/user",
        ),
        (CREATE.replace("\"version\": 3", "\"version\": \"s3cr3t-canary\""), "/service/version"),
        (CREATE.replace("\"version\": 3", "\"version\": -3"), "/service/version"),
        (CREATE.replace("{\"access_token\": \"s3cr3t-canary\"}", "\"s3cr3t-canary\""), "/credentials"),
        (CREATE.replace("\"userData\": {}", "\"userData\": [\"s3cr3t-canary\"]"), "/userData"),
        (CREATE.replace("\"userData\": {}", "\"userData\": null"), "/userData"),
        (CREATE.replace("[\"api\"]", "\"s3cr3t-canary\""), "/scopes"),
        (CREATE.replace("[\"api\"]", "[\"api\",\"api\"]"), "/scopes"),
        (CREATE.replace("\"environment\": \"Production\",", ""), "/environment"),
        (CREATE.replace("\"environment\"", "\"serviceEnvironmentId\":\"e\",\"environment\""), "/serviceEnvironmentId"),
        (CREATE.replace("\"userData\"", "\"userdata\""), "/userdata"),
        (CREATE.replace("\"userData\": {}", "\"userData\": {\"a\":1,\"a\":2}"), "/userData/a"),
        (CREATE.replace("\"name\": \"Acme\",", "\"name\": \"Acme\", \"name\": \"s3cr3t-canary\","), "/name"),
        (CREATE.replace("\"scopes\"", "\"onPremAgentGroupId\":\"s3cr3t-canary\",\"scopes\""), "/onPremAgentGroupId"),
    ];
    for (text, pointer) in cases {
        let refusal = refusal(&text);
        assert_eq!(refusal.pointer.as_deref(), Some(pointer), "{refusal:?}");
        assert!(refusal.line.is_some() && refusal.column.is_some(), "{refusal:?}");
        assert!(!format!("{refusal:?}").contains(CANARY), "{refusal:?}");
    }
}

#[test]
fn what_is_not_json_says_where() {
    let broken = refusal("{\n  \"version\": s3cr3t-canary }");
    assert_eq!((broken.line, broken.column, broken.reason.as_str()), (Some(2), Some(14), "the document is not JSON"));
    assert_eq!(refusal(&CREATE[..90]).reason, "the document ends early");
    assert_eq!(refusal("").reason, "the document ends early");
    assert_eq!(refusal("[1]").reason, "the document must be an object");
    let bytes = SecretBytes::new(b"{\"a\":\"\xff\"}".to_vec());
    let refusal = Document::parse(&bytes).err().expect("not text");
    assert_eq!((refusal.reason.as_str(), refusal.column), ("the document is not UTF-8 text", Some(7)));
}

#[test]
fn unknown_keys_are_named_but_only_so_far() {
    let long = format!("x\\n{}", CANARY.repeat(10));
    let refusal = refusal(&CREATE.replace("userData", &long));
    assert!(refusal.reason.starts_with("the key \"x\\ns3cr3t"), "{}", refusal.reason);
    assert!(refusal.reason.len() < 130, "{}", refusal.reason);
}

#[test]
fn a_new_end_user_is_asked_for_in_so_many_words() {
    let with = |user: &str| CREATE.replace("\"user\": {\"externalUserId\": \"acme-42\"}", user);
    let new_user = |user: &str| {
        let bytes = secret(&with(user));
        Document::parse(&bytes).unwrap_or_else(|refusal| panic!("{refusal:?}")).new_user
    };
    assert_eq!(new_user(r#""user": {"externalUserId":"acme-42"}"#), None);
    assert_eq!(new_user(r#""createUser": false, "user": {"externalUserId":"acme-42"}"#), None);
    let unnamed = new_user(r#""createUser": true, "user": {"externalUserId":"acme-42"}"#);
    assert_eq!(unnamed.as_deref(), Some("acme-42"));
    let named = new_user(r#""user": {"externalUserId":"acme-42","name":"Acme"}, "createUser": true"#);
    assert_eq!(named.as_deref(), Some("Acme"));
    for (user, pointer) in [
        (r#""user": {"externalUserId":"acme-42","name":"s3cr3t-canary"}"#, "/user/name"),
        (r#""createUser": true, "user": {"userId":"s3cr3t-canary"}"#, "/user/userId"),
        (r#""createUser": true, "user": {"externalUserId":"a","name":7}"#, "/user/name"),
        (r#""createUser": true"#, "/user"),
        (r#""createUser": "s3cr3t-canary""#, "/createUser"),
    ] {
        let refusal = refusal(&with(user));
        assert_eq!(refusal.pointer.as_deref(), Some(pointer), "{refusal:?}");
        assert!(!format!("{refusal:?}").contains(CANARY), "{refusal:?}");
    }
}

#[test]
fn an_action_takes_only_its_own_keys() {
    let id = Uuid::from_u128(7);
    let delete = format!(r#"{{"version":1,"action":"delete","authenticationId":"{id}"}}"#);
    let confirmed = delete.replace('}', ",\"confirm\":true}");
    let bytes = secret(&confirmed);
    let document = Document::parse(&bytes).unwrap_or_else(|refusal| panic!("{refusal:?}"));
    assert!(matches!(document.request, Request::Delete { id: named } if named.0 == id));
    assert_eq!(document.user, UserReference::Absent);
    for (action, extra, pointer) in [
        ("delete", r#""confirm":true,"credentials":{},"#, "/credentials"),
        ("delete", r#""confirm":true,"createUser":true,"#, "/createUser"),
        ("delete", "", "/confirm"),
        ("delete", r#""confirm":false,"#, "/confirm"),
        ("delete", r#""confirm":"yes","#, "/confirm"),
        ("update", r#""name":"n","confirm":true,"#, "/confirm"),
        ("update", r#""name":"n","createUser":true,"#, "/createUser"),
        ("update", r#""name":"n","environment":"Production","#, "/environment"),
        ("create", "", "/name"),
        ("upsert", r#""name":"n","environment":"e","#, "/service"),
    ] {
        let text =
            delete.replace("delete", action).replace("\"authenticationId\"", &format!("{extra}\"authenticationId\""));
        assert_eq!(refusal(&text).pointer.as_deref(), Some(pointer), "{action}");
    }
    assert_eq!(refusal(&delete.replace("delete", "update")).reason, "the update changes nothing");
    let typo = delete.replace("delete", "update").replace("\"action\"", "\"crednetials\":{},\"action\"");
    assert_eq!(refusal(&typo).pointer.as_deref(), Some("/crednetials"), "a typo is named first");
    let user = delete.replace("\"action\"", "\"user\":{\"id\":\"x\"},\"action\"");
    assert_eq!(refusal(&user).pointer.as_deref(), Some("/user/id"));
}
