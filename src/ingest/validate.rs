//! Service environments: which one a document means, or why there is none.

use super::{
    check::listed,
    document::{EnvironmentReference, ServiceReference, Whole},
    environments::{Found, Offer},
    lookup::LookupError,
    plan::{Obstacle, Planner},
    refusal::{Kind, Refusal, shown},
};
use crate::{
    authentication::{Metadata, ServiceEnvironmentId},
    principals::Session,
    tray::{Class, ServiceEnvironment},
};

/// The service environment that a document names, as far as it can be told.
pub(super) struct Resolved {
    pub(super) id: ServiceEnvironmentId,
    /// The service's name and version, for the trace and for notes.
    pub(super) service: String,
    /// With its schemas, if they could be looked up: that takes the service.
    pub(super) looked_up: Option<ServiceEnvironment>,
}

impl Planner {
    /// Resolves the environment of a new authentication, as Tray tells it to the session's owner or else to the
    /// organisation.
    pub(super) async fn resolve(&self, whole: &Whole<'_>, session: Option<&Session>) -> Result<Resolved, Obstacle> {
        let Some(service) = &whole.service else {
            return match &whole.environment {
                EnvironmentReference::Id(id) => {
                    Ok(Resolved { id: id.clone(), service: String::new(), looked_up: None })
                }
                EnvironmentReference::Title(_) => unreachable!("a document with a title names the service"),
            };
        };
        let wanted = |one: &ServiceEnvironment| match &whole.environment {
            EnvironmentReference::Title(title) => one.title == *title,
            EnvironmentReference::Id(id) => one.id == *id,
        };
        match (self.environments.find(session, service, wanted).await, &whole.environment) {
            (Ok(Found::One(one)), _) => {
                Ok(Resolved { id: one.id.clone(), service: label(service), looked_up: Some(one) })
            }
            (Ok(Found::None(titles)), reference) => Err(no_environment(reference, &titles).into()),
            (Ok(Found::NoService(offer)), _) => Err(no_service(&offer).into()),
            (Err(LookupError { class: Some(Class::NotPermitted), .. }), EnvironmentReference::Id(id)) => {
                Ok(Resolved { id: id.clone(), service: label(service), looked_up: None })
            }
            (Err(LookupError { class: Some(Class::NotPermitted), .. }), EnvironmentReference::Title(_)) => {
                let refusal = Refusal::new(Kind::Unresolved, "Tray does not list service environments for this owner");
                Err(refusal.at("/environment").hint("give \"serviceEnvironmentId\"").into())
            }
            (Err(error), _) => Err(obstacle(error)),
        }
    }

    /// The environment of an authentication that exists, with its schemas; `None` where Tray does not tell, which is no
    /// reason to stop an update.
    pub(super) async fn environment_of(
        &self,
        metadata: &Metadata,
        session: &Session,
    ) -> Result<Option<ServiceEnvironment>, Obstacle> {
        let service = ServiceReference::of_service(metadata.service.as_ref());
        let Some((service, environment)) = service.zip(metadata.environment.as_ref()) else { return Ok(None) };
        match self.environments.find(Some(session), &service, |one| one.id == environment.id).await {
            Ok(Found::One(one)) => Ok(Some(one)),
            Ok(Found::None(_) | Found::NoService(_))
            | Err(LookupError { class: Some(Class::NotPermitted | Class::NotEnabled), .. }) => Ok(None),
            Err(error) => Err(obstacle(error)),
        }
    }
}

/// A service's name and version, fit to be shown.
pub(super) fn label(service: &ServiceReference) -> String {
    format!("{} {}", shown(&service.name), service.version)
}

fn obstacle(LookupError { class, what }: LookupError) -> Obstacle {
    if class == Some(Class::TokenRejected) { Obstacle::TokenRejected } else { Obstacle::Later(what) }
}

fn no_environment(reference: &EnvironmentReference, titles: &[String]) -> Refusal {
    let pointer = match reference {
        EnvironmentReference::Title(_) => "/environment",
        EnvironmentReference::Id(_) => "/serviceEnvironmentId",
    };
    let refusal = Refusal::new(Kind::Unresolved, "the service has no such environment").at(pointer);
    refusal.hint(format!("it has {}", listed(titles)))
}

fn no_service(offer: &Offer) -> Refusal {
    let refusal = |reason: &str, pointer: &str| Refusal::new(Kind::Unresolved, reason).at(pointer);
    match offer {
        Offer::Versions(versions) => {
            let versions: Vec<_> = versions.iter().map(u32::to_string).collect();
            let (word, versions) = (if versions.len() == 1 { "version" } else { "versions" }, versions.join(", "));
            refusal("Tray does not have the service in this version", "/service/version")
                .hint(format!("Tray has it in {word} {versions}"))
        }
        Offer::Names(names) if names.is_empty() => refusal("Tray has no service of this name", "/service/name")
            .hint("the name is the service's, as Tray's list of connectors has it, not its title"),
        Offer::Names(names) => {
            refusal("Tray has no service of this name", "/service/name").hint(format!("it has {}", listed(names)))
        }
        Offer::Unknown => refusal("Tray has no such service in that version", "/service"),
    }
}
