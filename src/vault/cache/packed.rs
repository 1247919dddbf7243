//! Metadata as they are sealed: a format byte, then their texts in a fixed order, each with its length in front, then the
//! number of scopes plus one (none known: zero) and the scopes.
//!
//! The id isn't among them: it is in the row, and bound to the value. As JSON, which the first version of the schema had
//! and which is still read, the names of the fields would be half of it all, and a tenth of the file.

use crate::authentication::{
    AuthenticationId, Environment, ExternalUserId, Metadata, Owner, Service, ServiceEnvironmentId, UserId,
};
use crate::secret::SecretBytes;

/// The format byte. JSON has a brace there.
const FORMAT: u8 = 3;

/// The second version's, which has no scopes.
const WITHOUT_SCOPES: u8 = 2;

pub(super) fn pack(metadata: &Metadata) -> SecretBytes {
    let Metadata { id: _, name, owner, service, environment, scopes } = metadata;
    let owner = match owner {
        Owner::EndUser { user_id, external_user_id } => Some((&user_id.0, &external_user_id.0)),
        Owner::Workspace => None,
    };
    let service = service.as_ref().map(|service| (&service.name, &service.version));
    let environment = environment.as_ref().map(|environment| (&environment.id.0, &environment.title));
    let mut packed = Vec::with_capacity(512);
    packed.push(FORMAT);
    push(&mut packed, name);
    for pair in [owner, service, environment] {
        packed.push(pair.is_some().into());
        if let Some((left, right)) = pair {
            push(&mut packed, left);
            push(&mut packed, right);
        }
    }
    push_number(&mut packed, scopes.as_ref().map_or(0, |scopes| scopes.len() + 1));
    scopes.iter().flatten().for_each(|scope| push(&mut packed, scope));
    SecretBytes::new(packed)
}

/// `None` for what [`pack`] never gives, nor earlier versions.
pub(super) fn unpack(id: AuthenticationId, packed: &SecretBytes) -> Option<Metadata> {
    let rest = &mut packed.expose_secret();
    if rest.first() == Some(&b'{') {
        return serde_json::from_slice(rest).ok();
    }
    let format = *rest.split_off_first()?;
    if format != FORMAT && format != WITHOUT_SCOPES {
        return None;
    }
    let name = take(rest)?;
    let owner = match take_pair(rest)? {
        Some((user_id, external)) => {
            Owner::EndUser { user_id: UserId(user_id), external_user_id: ExternalUserId(external) }
        }
        None => Owner::Workspace,
    };
    let service = take_pair(rest)?.map(|(name, version)| Service { name, version });
    let environment = take_pair(rest)?.map(|(id, title)| Environment { id: ServiceEnvironmentId(id), title });
    let scopes = if format == FORMAT { take_scopes(rest)? } else { None };
    rest.is_empty().then_some(Metadata { id, name, owner, service, environment, scopes })
}

/// The length goes in front.
fn push(packed: &mut Vec<u8>, text: &str) {
    push_number(packed, text.len());
    packed.extend_from_slice(text.as_bytes());
}

/// Seven bits a byte, the least significant first; all bytes but the last have the top bit.
fn push_number(packed: &mut Vec<u8>, mut number: usize) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            packed.push(low);
            break;
        }
        packed.push(low | 0x80);
    }
}

fn take(rest: &mut &[u8]) -> Option<String> {
    let len = take_number(rest)?;
    String::from_utf8(rest.split_off(..len)?.to_vec()).ok()
}

fn take_number(rest: &mut &[u8]) -> Option<usize> {
    let mut number = 0_usize;
    for shift in (0..usize::BITS).step_by(7) {
        let byte = *rest.split_off_first()?;
        number |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[expect(clippy::option_option, reason = "the outer one is for `?`, in functions that give an Option")]
fn take_scopes(rest: &mut &[u8]) -> Option<Option<Vec<String>>> {
    match take_number(rest)?.checked_sub(1) {
        None => Some(None),
        Some(count) => (0..count).map(|_| take(rest)).collect::<Option<_>>().map(Some),
    }
}

#[expect(clippy::option_option, reason = "the outer one is for `?`, in functions that give an Option")]
fn take_pair(rest: &mut &[u8]) -> Option<Option<(String, String)>> {
    match *rest.split_off_first()? {
        0 => Some(None),
        1 => Some(Some((take(rest)?, take(rest)?))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn metadata(len: usize) -> Metadata {
        Metadata {
            id: AuthenticationId(Uuid::from_u128(7)),
            name: "ä".repeat(len),
            owner: Owner::EndUser { user_id: UserId("user".into()), external_user_id: ExternalUserId(String::new()) },
            service: Some(Service { name: "slack".into(), version: "4".into() }),
            environment: None,
            scopes: None,
        }
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        for len in [0, 1, 63, 64, 127, 8_191, 8_192, 100_000] {
            let whole = metadata(len);
            let workspace = Metadata { owner: Owner::Workspace, service: None, ..whole.clone() };
            let unscoped = Metadata { scopes: Some(Vec::new()), ..whole.clone() };
            let scoped = Metadata { scopes: Some(vec!["read".into(), "ä".repeat(len)]), ..whole.clone() };
            for metadata in [whole, workspace, unscoped, scoped] {
                assert_eq!(unpack(metadata.id, &pack(&metadata)), Some(metadata));
            }
        }
    }

    #[test]
    fn what_the_second_version_sealed_is_read() {
        let metadata = metadata(123);
        let mut packed = pack(&metadata).expose_secret().to_vec();
        assert_eq!((packed[0], packed.pop()), (3, Some(0)), "the format, and that no scopes are known");
        packed[0] = 2;
        assert_eq!(unpack(metadata.id, &SecretBytes::new(packed)), Some(metadata));
    }

    #[test]
    fn what_the_first_version_sealed_is_read() {
        let metadata = metadata(123);
        let json = SecretBytes::new(serde_json::to_vec(&metadata).unwrap());
        assert_eq!(unpack(metadata.id, &json), Some(metadata));
    }

    #[test]
    fn what_is_cut_short_or_followed_by_more_is_refused() {
        let metadata = metadata(100);
        let packed = pack(&metadata).expose_secret().to_vec();
        for len in 0..packed.len() {
            assert_eq!(unpack(metadata.id, &SecretBytes::new(packed[..len].to_vec())), None);
        }
        let longer = SecretBytes::new([&packed[..], b"x"].concat());
        assert_eq!(unpack(metadata.id, &longer), None);
        assert_eq!(unpack(metadata.id, &SecretBytes::new(vec![0xff; 64])), None);
    }
}
