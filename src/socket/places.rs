//! How many connections there may be: one user's never keep another user's out.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::process::getuid;

/// Connections at once of all users together, but for root and the daemon's own user, who have places of their own: whoever
/// is to put an end to a crowd gets in.
const OF_ALL: usize = 1_024;
/// Connections at once of one user.
const OF_ONE: usize = 256;

/// Counts the open connections of each user. Idle ones count as busy ones do.
#[derive(Clone, Default)]
pub(super) struct Places(Arc<Mutex<Open>>);

#[derive(Default)]
struct Open {
    of_each: HashMap<u32, usize>,
    of_all: usize,
}

/// One open connection's place; given back when dropped.
pub(super) struct Place {
    places: Places,
    uid: u32,
}

impl Places {
    /// A place for a connection of this user; `None` if there is none left.
    pub(super) fn admit(&self, uid: u32) -> Option<Place> {
        let mut open = self.open();
        let Open { of_each, of_all } = &mut *open;
        let own = of_each.get(&uid).copied().unwrap_or_default();
        if own >= OF_ONE || (is_common(uid) && *of_all >= OF_ALL) {
            return None;
        }
        of_each.insert(uid, own + 1);
        *of_all += usize::from(is_common(uid));
        Some(Place { places: self.clone(), uid })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // Nothing that is done while it is held panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a user is neither root nor the daemon's own.
fn is_common(uid: u32) -> bool {
    uid != 0 && uid != getuid().as_raw()
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.places.open();
        let Open { of_each, of_all } = &mut *open;
        *of_all -= usize::from(is_common(self.uid));
        if let Some(own) = of_each.get_mut(&self.uid) {
            *own -= 1;
            if *own == 0 {
                of_each.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(places: &Places, uid: u32) -> Vec<Place> {
        std::iter::from_fn(|| places.admit(uid)).collect()
    }

    #[test]
    fn one_user_can_not_take_every_place() {
        let places = Places::default();
        let taken = take(&places, 1_000_001);
        assert_eq!(taken.len(), OF_ONE);
        assert!(places.admit(1_000_002).is_some());
        drop(taken);
        assert!(places.admit(1_000_001).is_some());
    }

    #[test]
    fn many_users_together_leave_root_and_the_daemons_own_user_their_places() {
        let places = Places::default();
        let taken: Vec<_> = (1_000_000..1_000_010).flat_map(|uid| take(&places, uid)).collect();
        assert_eq!(taken.len(), OF_ALL);
        assert!(places.admit(1_000_010).is_none(), "no user more");
        assert_eq!(take(&places, 0).len(), OF_ONE);
        assert!(places.admit(getuid().as_raw()).is_some());
        drop(taken);
        assert!(places.open().of_each.is_empty(), "nothing is kept of who has gone");
    }
}
