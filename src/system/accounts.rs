//! Users and groups by name, through the system's name service.

use nix::unistd::{Group, User};

/// The uid of a user, given by name or as a number; `None` if the system knows no such name.
pub fn uid(name_or_number: &str) -> Option<u32> {
    name_or_number.parse().ok().or_else(|| User::from_name(name_or_number).ok().flatten().map(|user| user.uid.as_raw()))
}

/// The gid of a group, given by name or as a number; `None` if the system knows no such name.
pub fn gid(name_or_number: &str) -> Option<u32> {
    name_or_number
        .parse()
        .ok()
        .or_else(|| Group::from_name(name_or_number).ok().flatten().map(|group| group.gid.as_raw()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_name_or_number() {
        assert_eq!((uid("root"), uid("4242"), uid("no-such-user")), (Some(0), Some(4242), None));
        assert_eq!((gid("root"), gid("4242"), gid("no-such-group")), (Some(0), Some(4242), None));
    }
}
