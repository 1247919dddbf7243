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
//!
//! `"createUser": true` in a create or an upsert has the end user with that `externalUserId` created, under the `name`
//! that `user` has or else that id, if there is none. A delete takes `"confirm": true`. Nothing in a document may be
//! lost on the way: see `strict`.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{
    json::{Member, Object, Source},
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
    /// The display name to create the end user under, if there is none and there is to be one.
    pub(super) new_user: Option<String>,
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
        let (user, new_user) = UserReference::take(&mut object, action)?;
        let nothing = object.missing("credentials");
        let request = match action {
            Action::Create => Request::Create(Whole::take(&mut object)?),
            Action::Upsert => Request::Upsert(Whole::take(&mut object)?),
            Action::Update => Request::Update { id: take_id(&mut object)?, part: Part::take(&mut object)? },
            Action::Delete => {
                let id = take_id(&mut object)?;
                require_confirmation(&mut object)?;
                Request::Delete { id }
            }
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
            _ => Ok(Self { user, new_user, request }),
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
    /// The external id, if it is by that.
    pub(super) fn external_id(&self) -> Option<&str> {
        match self {
            Self::ExternalId(id) => Some(&id.0),
            Self::Id(_) | Self::Absent => None,
        }
    }

    /// Takes the end user, and the display name to create them under if that is asked for.
    fn take(object: &mut Object<'_>, action: Action) -> Result<(Self, Option<String>), Refusal> {
        let creates = match action {
            Action::Create | Action::Upsert => object.take("createUser"),
            Action::Update | Action::Delete => None,
        };
        let creates = creates.map(Member::flag).transpose()?.unwrap_or_default();
        let needs_id = |refusal: Refusal| refusal.hint("a new end user needs \"externalUserId\" in \"user\"");
        let Some(member) = object.take("user") else {
            return if creates { Err(needs_id(object.missing("user"))) } else { Ok((Self::Absent, None)) };
        };
        let both = member.refusal("must have \"userId\" or \"externalUserId\", and not both");
        let mut user = member.object()?;
        let given = (user.take("userId"), user.take("externalUserId"));
        let name = if creates { user.take("name").map(Member::text).transpose()? } else { None };
        let known_for = if creates { "\"user\"" } else { "\"user\" without \"createUser\": true" };
        user.finish(known_for)?;
        match given {
            (Some(id), None) if creates => Err(needs_id(id.refusal("is Tray's own id of an end user who exists"))),
            (Some(id), None) => Ok((Self::Id(UserId(id.text()?)), None)),
            (None, Some(id)) => {
                let id = id.text()?;
                let name = creates.then(|| name.unwrap_or_else(|| id.clone()));
                Ok((Self::ExternalId(ExternalUserId(id)), name))
            }
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
            name: object.take("name").map(Member::text).transpose()?,
            user_data: object.take("userData").map(Member::raw_object).transpose()?,
            credentials: object.take("credentials").map(Member::raw_object).transpose()?,
            scopes: object.take("scopes").map(Member::texts).transpose()?,
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

fn require_confirmation(object: &mut Object<'_>) -> Result<(), Refusal> {
    const FINAL: &str = "a delete can't be undone: give \"confirm\": true with it";
    let Some(member) = object.take("confirm") else { return Err(object.missing("confirm").hint(FINAL)) };
    let refusal = member.refusal("must be true").hint(FINAL);
    if member.flag().is_ok_and(|confirmed| confirmed) { Ok(()) } else { Err(refusal) }
}

fn take_id(object: &mut Object<'_>) -> Result<AuthenticationId, Refusal> {
    object.require("authenticationId")?.parsed("must be a UUID")
}

#[cfg(test)]
mod tests;
