//! What to do about a create whose answer is not known: a pure decision.

use std::time::Duration;

use crate::{
    authentication::{AuthenticationId, ServiceEnvironmentId},
    tray::Listed,
};

/// The longest that a create is waited for is this many times the settling time.
const MOST: u32 = 16;

/// What to do.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Verdict {
    /// It was done: this is it.
    Adopt(AuthenticationId),
    /// It may yet appear: look again after this time.
    Wait(Duration),
    /// It was not done: send it again.
    Resend,
    /// Several could be it: a person has to look.
    Hold(Vec<AuthenticationId>),
}

/// What was sent, and when.
pub(super) struct Unanswered<'a> {
    /// The ids that the owner had before.
    pub(super) before: &'a [AuthenticationId],
    /// The name that was sent.
    pub(super) name: &'a str,
    /// The service environment that was sent.
    pub(super) environment: &'a ServiceEnvironmentId,
    /// How long it is known that no answer comes to it.
    pub(super) waited: Duration,
    /// How often it was sent.
    pub(super) attempt: u32,
}

/// Decides by a listing of the owner's authentications that was made since. Of those that are new, one with another
/// environment is another's; one that Tray says no environment of may be ours.
pub(super) fn reconcile(unanswered: &Unanswered<'_>, listed: &[Listed], settle: Duration) -> Verdict {
    let may_be_it = |one: &&Listed| {
        one.name == unanswered.name
            && !unanswered.before.contains(&one.id)
            && one.environment.as_ref().is_none_or(|environment| environment.id == *unanswered.environment)
    };
    let candidates: Vec<_> = listed.iter().filter(may_be_it).map(|one| one.id).collect();
    // Each time that it seemed not to have been done it is waited for longer.
    let factor = 1_u32.checked_shl(unanswered.attempt.saturating_sub(1)).unwrap_or(MOST).clamp(1, MOST);
    let enough = settle.saturating_mul(factor);
    match candidates.as_slice() {
        [one] => Verdict::Adopt(*one),
        [] => match enough.checked_sub(unanswered.waited) {
            None | Some(Duration::ZERO) => Verdict::Resend,
            Some(left) => Verdict::Wait(left),
        },
        _ => Verdict::Hold(candidates),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::authentication::Environment;

    const SETTLE: Duration = Duration::from_secs(60);

    fn id(number: u128) -> AuthenticationId {
        AuthenticationId(Uuid::from_u128(number))
    }

    fn listed(number: u128, name: &str, environment: Option<&str>) -> Listed {
        let environment = environment
            .map(|id| Environment { id: ServiceEnvironmentId(id.to_owned()), title: "Production".to_owned() });
        Listed { id: id(number), name: name.to_owned(), service: None, environment }
    }

    fn verdict(all: &[Listed], waited: Duration, attempt: u32) -> Verdict {
        let environment = ServiceEnvironmentId("e".to_owned());
        let before = [id(1)];
        reconcile(&Unanswered { before: &before, name: "n", environment: &environment, waited, attempt }, all, SETTLE)
    }

    #[test]
    fn the_one_new_match_is_adopted() {
        let all = [
            listed(1, "n", Some("e")),
            listed(2, "n", Some("e")),
            listed(3, "n", Some("other")),
            listed(4, "other", Some("e")),
        ];
        assert_eq!(verdict(&all, Duration::ZERO, 1), Verdict::Adopt(id(2)));
        assert_eq!(verdict(&[listed(5, "n", None)], Duration::ZERO, 1), Verdict::Adopt(id(5)));
    }

    #[test]
    fn nothing_new_is_waited_for_and_then_sent_again() {
        let old = [listed(1, "n", Some("e"))];
        assert_eq!(verdict(&old, Duration::from_secs(59), 1), Verdict::Wait(Duration::from_secs(1)));
        assert_eq!(verdict(&old, SETTLE, 1), Verdict::Resend);
        assert_eq!(verdict(&old, SETTLE, 2), Verdict::Wait(SETTLE));
        assert_eq!(verdict(&old, SETTLE * 16, 99), Verdict::Resend);
    }

    #[test]
    fn several_new_ones_are_for_a_person() {
        let all = [listed(2, "n", Some("e")), listed(3, "n", None)];
        assert_eq!(verdict(&all, SETTLE, 1), Verdict::Hold(vec![id(2), id(3)]));
    }
}
