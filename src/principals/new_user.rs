//! End users who are not there yet. Tray may bill for each, and there is no idempotency key: one is made for each
//! external id, however often and by however many it is asked for.

use super::{PrincipalError, Principals, lock_of};
use crate::{
    audit::{Action, Event, Outcome, Target},
    authentication::{EndUser, ExternalUserId, Owner, UserId},
    failpoint::failpoint,
    tray::{Class, NewEndUser, TrayError, UserCriteria},
};

impl Principals {
    /// The end user with this external id, made under this name if Tray has none.
    ///
    /// It is asked for once. Where the answer is lost the error says so; whoever comes again finds the user by the
    /// external id, or is told by Tray that there is one.
    ///
    /// # Errors
    /// [`PrincipalError`].
    pub async fn end_user_or_new(&self, id: &ExternalUserId, name: &str) -> Result<EndUser, PrincipalError> {
        // INVARIANT: nobody else here looks for this user and makes it between the look and the making.
        let _one_at_a_time = lock_of(&self.shared.making_users, &id.0).lock().await;
        // An earlier attempt, whose answer was lost, may have made it.
        self.shared.absent.forget(id);
        if let Some(user) = self.end_user_by_external_id(id).await? {
            return Ok(user);
        }
        // It has no id yet to be named by; the log keeps a fingerprint of this one.
        let unborn = Owner::EndUser { user_id: UserId(id.0.clone()), external_user_id: id.clone() };
        let event = |outcome| Event::new(Action::CreateUser, outcome).on(Target::owner(&unborn));
        let (begun, audit) = (event(Outcome::Begun), self.shared.audit.clone());
        let recorded = tokio::task::spawn_blocking(move || audit.record_synced(&begun)).await;
        recorded.map_err(|_| PrincipalError::GoingDown)??;
        failpoint!("user.begun");
        let new = NewEndUser { name, external_user_id: id, is_test_user: false };
        match self.tray.create_end_user(self.tokens()?.master()?, new).await {
            Ok(made) => {
                failpoint!("user.made");
                let user = EndUser { id: made, external_user_id: id.clone(), name: name.to_owned() };
                let owner = Owner::EndUser { user_id: user.id.clone(), external_user_id: id.clone() };
                self.shared.audit.record(&event(Outcome::Done).on(Target::owner(&owner)))?;
                self.remember(&user).await?;
                failpoint!("user.remembered");
                Ok(user)
            }
            Err(error) => {
                let because = match error.class {
                    Class::UnknownOutcome => "its answer is not known",
                    _ if error.says_it_exists() => "it exists already",
                    _ => "Tray refuses or can't be asked",
                };
                self.shared.audit.record(&event(Outcome::Failed).because(because))?;
                if error.says_it_exists() { self.found_after_all(id, &error).await } else { Err(error.into()) }
            }
        }
    }

    /// A user whom Tray says there is, though it did not list them a moment ago.
    async fn found_after_all(&self, id: &ExternalUserId, error: &TrayError) -> Result<EndUser, PrincipalError> {
        let criteria = UserCriteria { external_user_id: Some(id), ..UserCriteria::default() };
        let not_yet = TrayError {
            class: Class::RetryLater,
            call: error.call,
            reason: "it exists already and is not listed yet",
            status: None,
        };
        self.find_end_user(criteria).await?.ok_or_else(|| not_yet.into())
    }
}
