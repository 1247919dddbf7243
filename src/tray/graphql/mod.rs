//! The GraphQL operations of the contract: what they share is here, what they ask in `users` and `authentications`.

mod authentications;
mod users;

use std::collections::HashSet;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

pub use self::{
    authentications::{Listed, NewUserAuthentication},
    users::{NewEndUser, UserCriteria},
};
use super::{
    body::{MALFORMED, parse},
    error::{Class, Repeat, TrayError},
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
    /// Reads a Relay connection to its end.
    async fn connection<D: DeserializeOwned, N>(
        &self,
        token: &SecretString,
        call: &'static str,
        query: &str,
        filter: &impl Serialize,
        extract: impl Fn(D) -> Connection<N>,
    ) -> Result<Vec<N>, TrayError> {
        let broken = |reason| TrayError { class: Class::RetryLater, call, reason, status: None };
        let mut nodes = Vec::new();
        let mut seen = HashSet::new();
        let mut after: Option<String> = None;
        loop {
            let page = Page { first: PAGE, after: after.as_deref(), filter };
            let connection = extract(self.operation(token, call, query, page, Repeat::Harmless).await?);
            nodes.extend(connection.edges.into_iter().map(|edge| edge.node));
            if !connection.page_info.has_next_page {
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
        // Operations fail with HTTP 200.
        let fail = |(class, reason)| TrayError { class, call, reason, status: Some(200) };
        let request = serde_json::to_vec(&Request { query, variables });
        let request = request.unwrap_or_else(|_| unreachable!("variables have string keys and plain values"));
        let answer = self.graphql_post(token, call, SecretBytes::new(request), repeat).await?;
        let envelope: Envelope<'_> = parse(&answer).map_err(|()| fail((repeat.unanswered(), MALFORMED)))?;
        if let Some(error) = envelope.errors.unwrap_or_default().first() {
            if error.is_limit() {
                self.budget().exceeded();
            }
            return Err(fail(error.class(repeat)));
        }
        self.budget().answered();
        let data = envelope.data.ok_or_else(|| fail((repeat.unanswered(), MALFORMED)))?;
        serde_json::from_str(data.get()).map_err(|_| fail((repeat.unanswered(), MALFORMED)))
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
    /// The message alone tells the limit from a refusal.
    fn is_limit(&self) -> bool {
        self.message == "Rate limit exceeded"
    }

    fn class(&self, repeat: Repeat) -> (Class, &'static str) {
        if self.is_limit() {
            return (Class::RetryLater, "over Tray's request limit");
        }
        match (self.extensions.name.as_deref(), self.extensions.code.as_deref()) {
            (_, Some("access_not_allowed")) => (Class::NotPermitted, "the token is not allowed to do this"),
            (_, Some("resource_does_not_exist" | "user_does_not_exist")) => (Class::Gone, "no such thing"),
            (_, Some("resource_already_exists" | "user_already_exists")) => (Class::BadInput, "it exists already"),
            (Some("GraphQLError"), _) => (Class::BadInput, "Tray refuses what was sent"),
            _ => (repeat.unanswered(), "Tray failed"),
        }
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

    fn class(error: &str) -> Class {
        let error: OperationError = serde_json::from_str(error).expect("an error");
        error.class(Repeat::MakesAnother).0
    }

    #[test]
    fn the_message_alone_tells_the_limit_from_a_refusal() {
        let with = |message: &str| {
            format!(
                r#"{{"message":"{message}","extensions":{{"name":"PreconditionError","code":"access_not_allowed"}}}}"#
            )
        };
        assert_eq!(class(&with("Rate limit exceeded")), Class::RetryLater);
        assert_eq!(class(&with("Not for you")), Class::NotPermitted);
    }

    #[test]
    fn errors_of_every_name_have_a_class() {
        let of = |name: &str, code: &str| {
            class(&format!(r#"{{"message":"m","extensions":{{"name":"{name}","code":{code}}}}}"#))
        };
        assert_eq!(of("PreconditionError", r#""user_does_not_exist""#), Class::Gone);
        assert_eq!(of("GraphQLError", "null"), Class::BadInput);
        assert_eq!(of("InternalError", "null"), Class::UnknownOutcome);
        assert_eq!(class("{}"), Class::UnknownOutcome);
    }
}
