//! The services of the seeded world: between them every sloppiness of schema and every style of credentials that the
//! contract warns of.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::emulator::seed::Stream;

/// A service as Tray's catalogue describes it; ids come from the seed.
#[derive(Debug)]
pub(in crate::emulator) struct Blueprint {
    pub(in crate::emulator) name: &'static str,
    pub(in crate::emulator) title: &'static str,
    pub(in crate::emulator) version: u32,
    pub(in crate::emulator) authentication_type: &'static str,
    pub(in crate::emulator) environments: &'static [&'static str],
    pub(in crate::emulator) credentials_schema: Value,
    pub(in crate::emulator) user_data_schema: Value,
    pub(in crate::emulator) scopes: Value,
    /// Makes credentials that expire, if they do, at the given time.
    pub(in crate::emulator) issue: fn(&mut Stream, Timestamp) -> Map<String, Value>,
}

pub(super) fn all() -> Vec<Blueprint> {
    vec![salesforce(), slack(), netsuite(), http_client(), google_sheets(), hubspot(), dynamics()]
}

/// OAuth 2 with epoch seconds; draft-04 under `schema`; scopes as objects; a custom OAuth app beside `Production`.
fn salesforce() -> Blueprint {
    Blueprint {
        name: "salesforce",
        title: "Salesforce",
        version: 3,
        authentication_type: "oauth2",
        environments: &["Production", "Acme CRM app"],
        credentials_schema: json!({
            "schema": "http://json-schema.org/draft-04/schema#",
            "id": "#credentials",
            "type": "object",
            "properties": {
                "access_token": {"id": "#token", "type": "string", "format": "password"},
                "refresh_token": {"id": "#token", "type": "string", "format": "password"},
                "instance_url": {"id": "#token", "type": "string"},
                "expires_at": {"type": "integer"},
            },
            "required": ["access_token"],
        }),
        user_data_schema: json!({
            "schema": "http://json-schema.org/draft-04/schema#",
            "type": "object",
            "properties": {"subdomain": {"type": "string", "tytpe": "string", "advanced": true}},
        }),
        scopes: json!([
            {"scope": "api", "description": "Access and manage your data"},
            {"scope": "refresh_token", "description": "Perform requests at any time"},
        ]),
        issue: |stream, expiry| {
            object(json!({
                "access_token": stream.secret("access"),
                "refresh_token": stream.secret("refresh"),
                "expires_at": expiry.as_second(),
                "instance_url": "https://acme.my.salesforce.example",
                "token_type": "Bearer",
            }))
        },
    }
}

/// A token in camel case; misspelt and Tray's own keywords; scopes as strings.
fn slack() -> Blueprint {
    Blueprint {
        name: "slack",
        title: "Slack",
        version: 2,
        authentication_type: "token",
        environments: &["Production"],
        credentials_schema: json!({
            "schema": "http://json-schema.org/draft-04/schema#",
            "type": "object",
            "properties": {
                "accessToken": {"tytpe": "string", "type": "string", "format": "password", "title": "Token"},
                "team": {"type": "string", "advanced": true, "lookup": {"operation": "list_teams"}},
            },
            "required": ["accessToken"],
        }),
        user_data_schema: json!({}),
        scopes: json!(["chat:write", "channels:read"]),
        issue: |stream, _| object(json!({"accessToken": stream.secret("access"), "team": "T024EMU"})),
    }
}

/// Token-based with every field required and none other allowed: the one to be rejected by.
fn netsuite() -> Blueprint {
    Blueprint {
        name: "netsuite",
        title: "NetSuite",
        version: 1,
        authentication_type: "token",
        environments: &["Production"],
        credentials_schema: json!({
            "schema": "http://json-schema.org/draft-04/schema#",
            "type": "object",
            "properties": {
                "account_id": {"type": "string", "minLength": 1},
                "consumer_key": {"type": "string", "format": "password"},
                "consumer_secret": {"type": "string", "format": "password"},
                "token_id": {"type": "string", "format": "password"},
                "token_secret": {"type": "string", "format": "password"},
            },
            "required": ["account_id", "consumer_key", "consumer_secret", "token_id", "token_secret"],
            "additionalProperties": false,
        }),
        user_data_schema: json!({
            "type": "object",
            "properties": {"role": {"type": "string"}},
            "additionalProperties": false,
        }),
        scopes: json!([]),
        issue: |stream, _| {
            object(json!({
                "account_id": "TSTDRV1234567",
                "consumer_key": stream.secret("consumer-key"),
                "consumer_secret": stream.secret("consumer-secret"),
                "token_id": stream.secret("token-id"),
                "token_secret": stream.secret("token-secret"),
            }))
        },
    }
}

/// Empty schemas, which allow anything.
fn http_client() -> Blueprint {
    Blueprint {
        name: "http-client",
        title: "HTTP Client",
        version: 1,
        authentication_type: "token",
        environments: &["Production"],
        credentials_schema: json!({}),
        user_data_schema: json!({}),
        scopes: json!([]),
        issue: |stream, _| object(json!({"token": stream.secret("access"), "header": "X-Api-Key"})),
    }
}

/// OAuth 2 with an RFC 3339 `expiry`; schemas that no validator compiles.
fn google_sheets() -> Blueprint {
    Blueprint {
        name: "google-sheets",
        title: "Google Sheets",
        version: 2,
        authentication_type: "oauth2",
        environments: &["Production"],
        credentials_schema: json!({
            "schema": "http://json-schema.org/draft-04/schema#",
            "type": "strng",
            "properties": {"access_token": {"type": "string", "pattern": "["}},
        }),
        user_data_schema: json!({"type": "object", "properties": {"domain": {"type": "strng"}}}),
        scopes: json!(["https://www.googleapis.example/auth/spreadsheets"]),
        issue: |stream, expiry| {
            object(json!({
                "access_token": stream.secret("access"),
                "refresh_token": stream.secret("refresh"),
                "expiry": expiry.to_string(),
                "scope": "https://www.googleapis.example/auth/spreadsheets",
            }))
        },
    }
}

/// OAuth 2 with `expiresIn` counted from when it was issued; draft-03.
fn hubspot() -> Blueprint {
    Blueprint {
        name: "hubspot",
        title: "HubSpot",
        version: 4,
        authentication_type: "oauth2",
        environments: &["Production"],
        credentials_schema: json!({
            "schema": "http://json-schema.org/draft-03/schema#",
            "type": "object",
            "id": "#",
            "properties": {
                "accessToken": {"type": "string", "required": true, "id": "#field"},
                "refreshToken": {"type": "string", "required": true, "id": "#field"},
                "expiresIn": {"type": "integer", "divisibleBy": 1},
            },
        }),
        user_data_schema: json!({
            "schema": "http://json-schema.org/draft-03/schema#",
            "type": "object",
            "properties": {"portal": {"type": ["string", "any"], "required": false, "lookup": true}},
        }),
        scopes: json!([{"scope": "contacts", "description": "Contacts"}]),
        issue: |stream, _| {
            object(json!({
                "accessToken": stream.secret("access"),
                "refreshToken": stream.secret("refresh"),
                "expiresIn": 3600,
            }))
        },
    }
}

/// Client credentials with `expiresAt` in epoch milliseconds and a nested object.
fn dynamics() -> Blueprint {
    Blueprint {
        name: "dynamics-365",
        title: "Dynamics 365",
        version: 1,
        authentication_type: "oauth2client_credentials",
        environments: &["Production"],
        credentials_schema: json!({
            "schema": "http://json-schema.org/draft-04/schema#",
            "type": "object",
            "properties": {
                "accessToken": {"type": "string"},
                "client": {
                    "type": "object",
                    "properties": {"id": {"type": "string"}, "secret": {"type": "string", "format": "password"}},
                    "required": ["id", "secret"],
                },
            },
            "required": ["client"],
        }),
        user_data_schema: json!({"type": "object", "properties": {"tenant": {"type": "string"}}}),
        scopes: json!([".default"]),
        issue: |stream, expiry| {
            object(json!({
                "accessToken": stream.secret("access"),
                "expiresAt": expiry.as_millisecond(),
                "client": {"id": "emulated-client", "secret": stream.secret("client-secret")},
            }))
        },
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}
