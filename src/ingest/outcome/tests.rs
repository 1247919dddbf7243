use std::fs;

use super::{super::refusal::Kind, *};
use crate::{
    secret::Key,
    vault::{self, NewSlot},
};

fn outcomes(dir: &Path, seal_rejected: bool) -> Outcomes {
    let Ok(key) = Key::try_fill(|key| {
        key.fill(7);
        Ok::<_, std::convert::Infallible>(())
    });
    let keyring = vault::create(&dir.join("vault"), &[NewSlot::Raw { key: &key }]).expect("a vault").into_keyring();
    let layout = Layout::new(dir.join("drop"), false);
    layout.prepare().expect("a layout");
    Outcomes { layout, keyring, seal_rejected }
}

fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).expect("a directory");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
    names.sort();
    names
}

#[test]
fn a_rejected_document_is_left_once_and_never_over_another() {
    for sealed in [false, true] {
        let dir = tempfile::tempdir().expect("a directory");
        let outcomes = outcomes(dir.path(), sealed);
        let refusal = Refusal::new(Kind::Schema, "no");
        let document = SecretBytes::new(b"{}".to_vec());
        let other = SecretBytes::new(b"[]".to_vec());
        let ids = [1, 2, 3].map(Uuid::from_u128);
        for _ in 0..2 {
            // The third is the same as the first, and dropped for itself.
            for (id, document) in ids.into_iter().zip([&document, &other, &document]) {
                let why = (&refusal, Timestamp::UNIX_EPOCH);
                outcomes.rejected((id, "a.json"), document, why, Lasting::Now).expect("left");
            }
        }
        let [_, second, third] = ids.map(|id| format!("a.json.{id}"));
        let mut expected = vec!["a.json".to_owned(), "a.json.reason.json".to_owned()];
        expected.extend([&second, &third].into_iter().flat_map(|name| [name.clone(), format!("{name}{REASON}")]));
        expected.sort();
        let rejected = outcomes.layout.rejected();
        assert_eq!(names(&rejected), expected);
        let kept = fs::read(rejected.join(&second)).expect("kept");
        assert_eq!(crate::sealed::is_sealed(&kept), sealed);
        let kept = if sealed {
            outcomes.keyring.identity().expect("unlocked").open(&kept, 9).expect("opened")
        } else {
            SecretBytes::new(kept)
        };
        assert_eq!(kept.expose_secret(), b"[]");
    }
}

#[test]
fn a_document_that_was_left_without_its_reason_gets_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let outcomes = outcomes(dir.path(), true);
    let (refusal, document) = (Refusal::new(Kind::Schema, "no"), SecretBytes::new(b"{}".to_vec()));
    let leave = || outcomes.rejected((Uuid::nil(), "a"), &document, (&refusal, Timestamp::UNIX_EPOCH), Lasting::Now);
    leave().expect("left");
    fs::remove_file(outcomes.layout.rejected().join("a.reason.json")).expect("removed");
    leave().expect("left");
    assert_eq!(names(&outcomes.layout.rejected()), ["a", "a.reason.json"]);
}

#[test]
fn an_outcome_that_was_taken_away_at_once_is_no_error() {
    let dir = tempfile::tempdir().expect("a directory");
    sync(&dir.path().join("taken"), dir.path()).expect("nothing is left to do");
    let is_missing = |error: FileError| error.is_missing();
    assert!(sync(&dir.path().join("none/taken"), &dir.path().join("none")).is_err_and(is_missing));
}
