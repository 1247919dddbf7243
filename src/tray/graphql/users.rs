//! End users and their tokens, with the master token.

use serde::{Deserialize, Serialize};

use super::Connection;
use crate::{
    authentication::{EndUser, ExternalUserId, UserId},
    secret::SecretString,
    tray::{
        error::{Repeat, TrayError},
        token::{MasterToken, UserToken},
        transport::Tray,
    },
};

const LIST: &str = "query ($first: Int, $after: String, $criteria: UserSearchCriteria) { \
    users(first: $first, after: $after, criteria: $criteria) { \
    edges { node { id name externalUserId } cursor } pageInfo { hasNextPage endCursor } } }";
const CREATE: &str = "mutation ($input: CreateExternalUserInput!) { createExternalUser(input: $input) { userId } }";
const AUTHORIZE: &str = "mutation ($input: AuthorizeInput!) { authorize(input: $input) { accessToken } }";

/// Which end users to list.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UserCriteria<'a> {
    /// The one with this id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<&'a UserId>,
    /// The one with this external id. Tray asks not to use this in high-throughput ways: keep the mapping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_user_id: Option<&'a ExternalUserId>,
}

/// An end user to be created.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewEndUser<'a> {
    /// The display name.
    pub name: &'a str,
    /// The embedding company's id.
    pub external_user_id: &'a ExternalUserId,
    /// Whether it is a test user. One that is not may be billed.
    pub is_test_user: bool,
}

impl Tray {
    /// The end users of the organisation; without criteria, every one.
    ///
    /// # Errors
    /// [`TrayError`], by class.
    pub async fn end_users(
        &self,
        master: &MasterToken,
        criteria: Option<UserCriteria<'_>>,
    ) -> Result<Vec<EndUser>, TrayError> {
        #[derive(Serialize)]
        struct Filter<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            criteria: Option<UserCriteria<'a>>,
        }
        #[derive(Deserialize)]
        struct Data {
            users: Connection<Node>,
        }
        let extract = |data: Data| data.users;
        let key = |node: &Node| node.id.clone();
        let nodes =
            self.connection(master.bearer(), "list end users", LIST, &Filter { criteria }, extract, key).await?;
        Ok(nodes.into_iter().map(EndUser::from).collect())
    }

    /// Creates an end user.
    ///
    /// # Errors
    /// [`TrayError`], by class.
    pub async fn create_end_user(&self, master: &MasterToken, new: NewEndUser<'_>) -> Result<UserId, TrayError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Data {
            create_external_user: Created,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Created {
            user_id: UserId,
        }
        let call = "create end user";
        let data: Data = self.mutation(master.bearer(), call, CREATE, new, Repeat::MakesAnother).await?;
        Ok(data.create_external_user.user_id)
    }

    /// Mints a token for an end user, valid for two days.
    ///
    /// # Errors
    /// [`TrayError`], by class.
    pub async fn authorize(&self, master: &MasterToken, user: &UserId) -> Result<UserToken, TrayError> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Input<'a> {
            user_id: &'a UserId,
        }
        #[derive(Deserialize)]
        struct Data {
            authorize: Authorized,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Authorized {
            access_token: String,
        }
        let input = Input { user_id: user };
        // A token that nobody received harms nobody: it can be asked for again.
        let call = "mint user token";
        let data: Data = self.mutation(master.bearer(), call, AUTHORIZE, input, Repeat::Harmless).await?;
        Ok(UserToken::new(user.clone(), SecretString::new(data.authorize.access_token)))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    id: UserId,
    name: Option<String>,
    external_user_id: ExternalUserId,
}

impl From<Node> for EndUser {
    fn from(node: Node) -> Self {
        Self { id: node.id, external_user_id: node.external_user_id, name: node.name.unwrap_or_default() }
    }
}
