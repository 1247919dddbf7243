//! The drop document, version 1.
//!
//! ```json
//! { "version": 1, "action": "create",
//!   "name": "Acme Salesforce", "user": {"externalUserId": "acme-42"},
//!   "service": {"name": "salesforce", "version": 3}, "environment": "Production",
//!   "userData": {}, "credentials": {"access_token": "…"}, "scopes": ["api"] }
//! ```
//! An update that gives all of `name`, `userData`, `credentials` and `scopes` replaces what is held. One that gives a
//! part is put over what Tray holds, by a full read just before: `name` and `scopes` given replace, and of `userData`
//! and `credentials` the top-level members given replace while the others stay. An `onPremAgentGroupId` that is not
//! given stays in either case.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{
    json::{Object, Source},
    refusal::Refusal,
};
use crate::{
    authentication::{AuthenticationId, ExternalUserId, Service, ServiceEnvironmentId, UserId},
    secret::SecretBytes,
};

/// A document, borrowed from the bytes that it was read from.
pub(super) struct Document<'a> {
    /// Whose authentication it is about.
    pub(super) user: UserReference,
    /// What is asked for.
    pub(super) request: Request<'a>,
}

/// The end user that a document names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UserReference {
    /// By Tray's id.
    Id(UserId),
    /// By the embedding company's id.
    ExternalId(ExternalUserId),
    /// Not at all: the workspace principal, or whoever is known to own the authentication that is named.
    Absent,
}

/// What a document asks for.
pub(super) enum Request<'a> {
    /// A new authentication.
    Create(Whole<'a>),
    /// A change of one that is named by its id.
    Update {
        /// Which.
        id: AuthenticationId,
        /// What changes.
        part: Part<'a>,
    },
    /// A change of the one with that owner, environment and name, else a new one.
    Upsert(Whole<'a>),
    /// The end of one.
    Delete {
        /// Which.
        id: AuthenticationId,
    },
}

/// The word for what a document asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Action {
    Create,
    Update,
    Upsert,
    Delete,
}

/// What describes a new authentication.
pub(super) struct Whole<'a> {
    pub(super) name: String,
    pub(super) service: Option<ServiceReference>,
    pub(super) environment: EnvironmentReference,
    pub(super) user_data: Option<&'a RawValue>,
    pub(super) credentials: &'a RawValue,
    pub(super) scopes: Option<Vec<String>>,
    pub(super) on_prem_agent_group_id: Option<String>,
}

/// What of an authentication changes.
#[derive(Clone)]
pub(super) struct Part<'a> {
    pub(super) name: Option<String>,
    pub(super) user_data: Option<&'a RawValue>,
    pub(super) credentials: Option<&'a RawValue>,
    pub(super) scopes: Option<Vec<String>>,
    pub(super) on_prem_agent_group_id: Option<String>,
}

/// A service, as environments are looked up by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServiceReference {
    pub(super) name: String,
    pub(super) version: u32,
}

/// A service environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EnvironmentReference {
    /// By its title; the document names the service too.
    Title(String),
    /// By its id.
    Id(ServiceEnvironmentId),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Upsert => "upsert",
            Self::Delete => "delete",
        })
    }
}

impl<'a> Document<'a> {
    /// Reads a document.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub(super) fn parse(bytes: &'a SecretBytes) -> Result<Self, Refusal> {
        let mut object = Source::object(bytes.expose_secret())?;
        let version = object.require("version")?;
        let unsupported = version.refusal("must be 1");
        if version.number()? != 1 {
            return Err(unsupported);
        }
        let actions = [Action::Create, Action::Update, Action::Upsert, Action::Delete];
        let words = [("create", actions[0]), ("update", actions[1]), ("upsert", actions[2]), ("delete", actions[3])];
        let action =
            object.require("action")?.word(&words, "must be \"create\", \"update\", \"upsert\" or \"delete\"")?;
        let user = UserReference::take(&mut object)?;
        let nothing = object.missing("credentials");
        let request = match action {
            Action::Create => Request::Create(Whole::take(&mut object)?),
            Action::Upsert => Request::Upsert(Whole::take(&mut object)?),
            Action::Update => Request::Update { id: take_id(&mut object)?, part: Part::take(&mut object)? },
            Action::Delete => Request::Delete { id: take_id(&mut object)? },
        };
        object.finish(match action {
            Action::Create => "a create document",
            Action::Update => "an update document",
            Action::Upsert => "an upsert document",
            Action::Delete => "a delete document",
        })?;
        match &request {
            Request::Update { part, .. } if part.is_nothing() => {
                let reason = "the update changes nothing".to_owned();
                let nothing = nothing.hint("give \"name\", \"userData\", \"credentials\" or \"scopes\"");
                Err(Refusal { reason, pointer: None, ..nothing })
            }
            _ => Ok(Self { user, request }),
        }
    }

    /// The word for what it asks for.
    pub(super) fn action(&self) -> Action {
        match self.request {
            Request::Create(_) => Action::Create,
            Request::Update { .. } => Action::Update,
            Request::Upsert(_) => Action::Upsert,
            Request::Delete { .. } => Action::Delete,
        }
    }
}

impl UserReference {
    fn take(object: &mut Object<'_>) -> Result<Self, Refusal> {
        let Some(member) = object.take("user") else { return Ok(Self::Absent) };
        let both = member.refusal("must have \"userId\" or \"externalUserId\", and not both");
        let mut user = member.object()?;
        let given = (user.take("userId"), user.take("externalUserId"));
        user.finish("\"user\"")?;
        match given {
            (Some(id), None) => Ok(Self::Id(UserId(id.text()?))),
            (None, Some(id)) => Ok(Self::ExternalId(ExternalUserId(id.text()?))),
            _ => Err(both),
        }
    }
}

impl<'a> Whole<'a> {
    fn take(object: &mut Object<'a>) -> Result<Self, Refusal> {
        let name = object.require("name")?.text()?;
        let service = object.take("service").map(|member| ServiceReference::take(member.object()?)).transpose()?;
        let environment = match (object.take("environment"), object.take("serviceEnvironmentId")) {
            (Some(title), None) if service.is_some() => EnvironmentReference::Title(title.text()?),
            (Some(_), None) => {
                return Err(object.missing("service").hint("an environment's title is one of a service's"));
            }
            (None, Some(id)) => EnvironmentReference::Id(ServiceEnvironmentId(id.text()?)),
            (Some(_), Some(id)) => return Err(id.refusal("and \"environment\" must not both be given")),
            (None, None) => {
                return Err(object.missing("environment").hint("or give \"serviceEnvironmentId\""));
            }
        };
        let credentials = object.require("credentials")?.raw_object()?;
        let Part { user_data, scopes, on_prem_agent_group_id, .. } = Part::take(object)?;
        Ok(Self { name, service, environment, user_data, credentials, scopes, on_prem_agent_group_id })
    }
}

impl<'a> Whole<'a> {
    /// The same as a change of one that exists.
    pub(super) fn as_part(&self) -> Part<'a> {
        Part {
            name: Some(self.name.clone()),
            user_data: self.user_data,
            credentials: Some(self.credentials),
            scopes: self.scopes.clone(),
            on_prem_agent_group_id: self.on_prem_agent_group_id.clone(),
        }
    }
}

impl<'a> Part<'a> {
    fn take(object: &mut Object<'a>) -> Result<Self, Refusal> {
        let group = object.take("onPremAgentGroupId").map(|member| member.parsed::<Uuid>("must be a UUID"));
        Ok(Self {
            name: object.take("name").map(super::json::Member::text).transpose()?,
            user_data: object.take("userData").map(super::json::Member::raw_object).transpose()?,
            credentials: object.take("credentials").map(super::json::Member::raw_object).transpose()?,
            scopes: object.take("scopes").map(super::json::Member::texts).transpose()?,
            on_prem_agent_group_id: group.transpose()?.map(|id| id.to_string()),
        })
    }
}

impl Part<'_> {
    /// Whether it changes nothing.
    fn is_nothing(&self) -> bool {
        let Self { name, user_data, credentials, scopes, on_prem_agent_group_id } = self;
        name.is_none()
            && user_data.is_none()
            && credentials.is_none()
            && scopes.is_none()
            && on_prem_agent_group_id.is_none()
    }
}

impl ServiceReference {
    /// As metadata name it.
    pub(super) fn as_service(&self) -> Service {
        Service { name: self.name.clone(), version: self.version.to_string() }
    }

    /// From how metadata name it, if they do and the version is a number.
    pub(super) fn of_service(service: Option<&Service>) -> Option<Self> {
        let Service { name, version } = service?;
        Some(Self { name: name.clone(), version: version.parse().ok()? })
    }

    fn take(mut object: Object<'_>) -> Result<Self, Refusal> {
        let name = object.require("name")?.text()?;
        let version = object.require("version")?.number()?;
        object.finish("\"service\"")?;
        Ok(Self { name, version })
    }
}

fn take_id(object: &mut Object<'_>) -> Result<AuthenticationId, Refusal> {
    object.require("authenticationId")?.parsed("must be a UUID")
}

#[cfg(test)]
mod tests {
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
                CREATE.replace(
                    "\"externalUserId\": \"acme-42\"",
                    "\"userId\":\"s3cr3t-canary\",\"externalUserId\":\"x\"",
                ),
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
            (
                CREATE.replace("\"environment\"", "\"serviceEnvironmentId\":\"e\",\"environment\""),
                "/serviceEnvironmentId",
            ),
            (CREATE.replace("\"userData\"", "\"userdata\""), "/userdata"),
            (CREATE.replace("\"userData\": {}", "\"userData\": {\"a\":1,\"a\":2}"), "/userData/a"),
            (CREATE.replace("\"name\": \"Acme\",", "\"name\": \"Acme\", \"name\": \"s3cr3t-canary\","), "/name"),
            (
                CREATE.replace("\"scopes\"", "\"onPremAgentGroupId\":\"s3cr3t-canary\",\"scopes\""),
                "/onPremAgentGroupId",
            ),
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
        assert_eq!(
            (broken.line, broken.column, broken.reason.as_str()),
            (Some(2), Some(14), "the document is not JSON")
        );
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
    fn an_action_takes_only_its_own_keys() {
        let id = Uuid::from_u128(7);
        let delete = format!(r#"{{"version":1,"action":"delete","authenticationId":"{id}"}}"#);
        let bytes = secret(&delete);
        let document = Document::parse(&bytes).unwrap_or_else(|refusal| panic!("{refusal:?}"));
        assert!(matches!(document.request, Request::Delete { id: named } if named.0 == id));
        assert_eq!(document.user, UserReference::Absent);
        for (action, extra, pointer) in [
            ("delete", r#""credentials":{},"#, "/credentials"),
            ("update", r#""name":"n","environment":"Production","#, "/environment"),
            ("create", "", "/name"),
            ("upsert", r#""name":"n","environment":"e","#, "/service"),
        ] {
            let text = delete
                .replace("delete", action)
                .replace("\"authenticationId\"", &format!("{extra}\"authenticationId\""));
            assert_eq!(refusal(&text).pointer.as_deref(), Some(pointer), "{action}");
        }
        assert_eq!(refusal(&delete.replace("delete", "update")).reason, "the update changes nothing");
        let typo = delete.replace("delete", "update").replace("\"action\"", "\"crednetials\":{},\"action\"");
        assert_eq!(refusal(&typo).pointer.as_deref(), Some("/crednetials"), "a typo is named first");
        let user = delete.replace("\"action\"", "\"user\":{\"id\":\"x\"},\"action\"");
        assert_eq!(refusal(&user).pointer.as_deref(), Some("/user/id"));
    }
}
