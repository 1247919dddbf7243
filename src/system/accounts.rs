//! Users and groups by name, through the system's name service.

use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

/// The uid of a user, given by name or as a number; `None` if the system knows no such name.
pub fn uid(name_or_number: &str) -> Option<u32> {
    name_or_number.parse().ok().or_else(|| User::from_name(name_or_number).ok().flatten().map(|user| user.uid.as_raw()))
}

/// A user's name, if the system knows one.
pub fn name(uid: u32) -> Option<String> {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name)
}

/// The gid of a group, given by name or as a number; `None` if the system knows no such name.
pub fn gid(name_or_number: &str) -> Option<u32> {
    name_or_number
        .parse()
        .ok()
        .or_else(|| Group::from_name(name_or_number).ok().flatten().map(|group| group.gid.as_raw()))
}

/// A group's name, if the system knows one.
pub fn group_name(gid: u32) -> Option<String> {
    Group::from_gid(Gid::from_raw(gid)).ok().flatten().map(|group| group.name)
}

/// Every group of a user, the primary one first; none of a user that the system does not know.
pub fn groups(uid: u32) -> Vec<u32> {
    let Ok(Some(user)) = User::from_uid(Uid::from_raw(uid)) else { return Vec::new() };
    let listed = CString::new(user.name).ok().and_then(|name| getgrouplist(&name, user.gid).ok());
    let others = listed.unwrap_or_default().into_iter().filter(|gid| *gid != user.gid);
    std::iter::once(user.gid).chain(others).map(Gid::as_raw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_name_or_number() {
        assert_eq!((uid("root"), uid("4242"), uid("no-such-user")), (Some(0), Some(4242), None));
        assert_eq!((name(0).as_deref(), name(4_294_000_000)), (Some("root"), None));
        assert_eq!((groups(0).first(), groups(4_294_000_000)), (Some(&0), Vec::new()));
        assert_eq!((gid("root"), gid("4242"), gid("no-such-group")), (Some(0), Some(4242), None));
    }
}
