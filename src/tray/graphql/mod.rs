//! The GraphQL operations of the contract: what they share is here, what they ask in `users` and `authentications`.

mod authentications;
mod users;

use std::{collections::HashSet, hash::Hash};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

pub use self::{
    authentications::{Listed, NewUserAuthentication},
    users::{NewEndUser, UserCriteria},
};
use super::{
    body::{Unfit, parse},
    error::{Class, EXISTS, Repeat, TrayError},
    transport::Tray,
};
use crate::secret::{SecretBytes, SecretString};

/// Nodes asked for at once.
const PAGE: u32 = 100;

/// The variables of a Relay connection.
#[derive(Serialize)]
struct Page<'a, F> {
    first: u32,
    after: Option<&'a str>,
    #[serde(flatten)]
    filter: &'a F,
}

impl Tray {
    /// Reads a Relay connection to its end. `key` tells its nodes apart.
    async fn connection<D: DeserializeOwned, N, K: Eq + Hash>(
        &self,
        token: &SecretString,
        call: &'static str,
        query: &str,
        filter: &impl Serialize,
        extract: impl Fn(D) -> Connection<N>,
        key: impl Fn(&N) -> K,
    ) -> Result<Vec<N>, TrayError> {
        let broken = |reason| TrayError { class: Class::RetryLater, call, reason, status: None };
        let mut nodes = Vec::new();
        let (mut seen, mut known) = (HashSet::new(), HashSet::new());
        let mut after: Option<String> = None;
        loop {
            let page = Page { first: PAGE, after: after.as_deref(), filter };
            let connection = extract(self.operation(token, call, query, page, Repeat::Harmless).await?);
            let (is_empty, before) = (connection.edges.is_empty(), nodes.len());
            nodes.extend(connection.edges.into_iter().map(|edge| edge.node).filter(|node| known.insert(key(node))));
            let has_next = connection.page_info.has_next_page;
            if nodes.len() == before && (has_next || !is_empty) {
                return Err(broken("a page has nothing that was not on the ones before"));
            }
            if !has_next {
                return Ok(nodes);
            }
            let cursor =
                connection.page_info.end_cursor.ok_or_else(|| broken("a page without a cursor to the next"))?;
            if !seen.insert(cursor.clone()) {
                return Err(broken("a page came twice"));
            }
            after = Some(cursor);
        }
    }

    /// A mutation, whose one argument is `input`.
    async fn mutation<T: DeserializeOwned>(
        &self,
        token: &SecretString,
        call: &'static str,
        query: &str,
        input: impl Serialize,
        repeat: Repeat,
    ) -> Result<T, TrayError> {
        #[derive(Serialize)]
        struct Variables<I> {
            input: I,
        }
        self.operation(token, call, query, Variables { input }, repeat).await
    }

    async fn operation<T: DeserializeOwned>(
        &self,
        token: &SecretString,
        call: &'static str,
        query: &str,
        variables: impl Serialize,
        repeat: Repeat,
    ) -> Result<T, TrayError> {
        #[derive(Serialize)]
        struct Request<'a, V> {
            query: &'a str,
            variables: V,
        }
        let request = serde_json::to_vec(&Request { query, variables });
        let request = request.unwrap_or_else(|_| unreachable!("variables have string keys and plain values"));
        let read = |answer: SecretBytes| {
            // Operations fail with HTTP 200.
            let envelope: Envelope<'_> = parse(&answer)?;
            if let Some(error) = envelope.errors.unwrap_or_default().first() {
                return Err(error.unfit(repeat));
            }
            let data = envelope.data.ok_or(Unfit::Misshapen)?;
            serde_json::from_str(data.get()).map_err(|_| Unfit::Misshapen)
        };
        self.graphql_post(token, call, SecretBytes::new(request), repeat, read).await
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    errors: Option<Vec<OperationError>>,
}

/// An error of an operation. Its message is compared, never shown.
#[derive(Deserialize)]
struct OperationError {
    #[serde(default)]
    message: String,
    #[serde(default)]
    extensions: Extensions,
}

#[derive(Default, Deserialize)]
struct Extensions {
    name: Option<String>,
    code: Option<String>,
}

impl OperationError {
    fn unfit(&self, repeat: Repeat) -> Unfit {
        // The message alone tells the limit from a refusal.
        if self.message == "Rate limit exceeded" {
            return Unfit::OverLimit;
        }
        let (class, reason) = match (self.extensions.name.as_deref(), self.extensions.code.as_deref()) {
            (_, Some("access_not_allowed")) => (Class::NotPermitted, "the token is not allowed to do this"),
            (_, Some("resource_does_not_exist" | "user_does_not_exist")) => (Class::Gone, "no such thing"),
            (_, Some("resource_already_exists" | "user_already_exists")) => (Class::BadInput, EXISTS),
            (Some("GraphQLError"), _) => (Class::BadInput, "Tray refuses what was sent"),
            _ => (repeat.unanswered(), "Tray failed"),
        };
        Unfit::Refused(class, reason)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Connection<N> {
    edges: Vec<Edge<N>>,
    page_info: PageInfo,
}

#[derive(Deserialize)]
struct Edge<N> {
    node: N,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageInfo {
    has_next_page: bool,
    end_cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The class of a refusal; `None` for the limit.
    fn class(error: &str) -> Option<Class> {
        let error: OperationError = serde_json::from_str(error).expect("an error");
        match error.unfit(Repeat::MakesAnother) {
            Unfit::Refused(class, _) => Some(class),
            Unfit::OverLimit => None,
            Unfit::NotJson | Unfit::Misshapen => panic!("it was read"),
        }
    }

    #[test]
    fn the_message_alone_tells_the_limit_from_a_refusal() {
        let with = |message: &str| {
            format!(
                r#"{{"message":"{message}","extensions":{{"name":"PreconditionError","code":"access_not_allowed"}}}}"#
            )
        };
        assert_eq!(class(&with("Rate limit exceeded")), None);
        assert_eq!(class(&with("Not for you")), Some(Class::NotPermitted));
    }

    #[test]
    fn errors_of_every_name_have_a_class() {
        let of = |name: &str, code: &str| {
            class(&format!(r#"{{"message":"m","extensions":{{"name":"{name}","code":{code}}}}}"#))
        };
        assert_eq!(of("PreconditionError", r#""user_does_not_exist""#), Some(Class::Gone));
        assert_eq!(of("GraphQLError", "null"), Some(Class::BadInput));
        assert_eq!(of("InternalError", "null"), Some(Class::UnknownOutcome));
        assert_eq!(class("{}"), Some(Class::UnknownOutcome));
    }
}
