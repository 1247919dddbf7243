//! What a dropped file holds: one document, or many, one a line; in the clear, or sealed to the vault.

use super::{
    document::Document,
    refusal::{Kind, Refusal},
};
use crate::{
    requests::ingest::holds_many,
    sealed::{self, OpenError},
    secret::SecretBytes,
    vault::{IsLocked, Keyring},
};

/// The largest file that holds so much: sealed and armored it takes a third more, and a header.
pub(super) fn sealed_size(max_size: u64) -> u64 {
    max_size.saturating_add(max_size / 2).saturating_add(4096)
}

/// Opens a file's content if it is sealed; `None` if it is in the clear. In either case there are at most `max_size` bytes
/// of it.
///
/// # Errors
/// The vault is locked. That the content does not open is a refusal.
pub(super) fn unseal(
    bytes: &SecretBytes,
    keyring: &Keyring,
    max_size: u64,
) -> Result<Result<Option<SecretBytes>, Refusal>, IsLocked> {
    let content = bytes.expose_secret();
    if !sealed::is_sealed(content) {
        let is_too_large = u64::try_from(content.len()).is_ok_and(|length| length > max_size);
        return Ok(if is_too_large { Err(too_large(max_size)) } else { Ok(None) });
    }
    let opened = keyring.identity()?.open(content, max_size);
    Ok(opened.map(Some).map_err(|error| match error {
        OpenError::TooLarge(_) => too_large(max_size),
        OpenError::NotForUs => Refusal::new(Kind::Document, error.to_string()).hint("seal it again: trayvault seal"),
        OpenError::Damaged | OpenError::Format => Refusal::new(Kind::Document, error.to_string())
            .hint("it was cut off or changed: seal it again: trayvault seal"),
    }))
}

/// The refusal of what is larger than a document may be.
pub(super) fn too_large(max_size: u64) -> Refusal {
    Refusal::new(Kind::File, format!("the file is larger than {max_size} bytes")).hint("ingest.max_size is the limit")
}

/// The documents of a file of many, each with the number of its line, from 1; lines with nothing on them are left out.
/// `None` for a file of one. Which it is, its name says.
pub(super) fn lines(name: &str, bytes: &SecretBytes) -> Option<Vec<(usize, SecretBytes)>> {
    holds_many(name).then(|| {
        let lines = bytes.expose_secret().split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let lines = (1..).zip(lines).filter(|(_, line)| !line.is_empty());
        lines.map(|(number, line)| (number, SecretBytes::new(line.to_vec()))).collect()
    })
}

/// Whether all of a file is documents: one that is written in place may otherwise have more to come.
pub(super) fn is_whole(name: &str, bytes: &SecretBytes) -> bool {
    let is_document = |bytes: &SecretBytes| Document::parse(bytes).is_ok();
    lines(name, bytes).map_or_else(
        || is_document(bytes),
        |lines| !lines.is_empty() && lines.iter().all(|(_, line)| is_document(line)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(name: &str, text: &str) -> Option<Vec<(usize, String)>> {
        let text_of = |line: &SecretBytes| String::from_utf8(line.expose_secret().to_vec()).expect("text");
        let lines = lines(name, &SecretBytes::new(text.as_bytes().to_vec()))?;
        Some(lines.iter().map(|(number, line)| (*number, text_of(line))).collect())
    }

    #[test]
    fn a_file_of_many_is_known_by_its_name_and_keeps_its_line_numbers() {
        let text = "{}\r\n\n  {\"a\":1}\n\n";
        for name in ["a.ndjson", "a.jsonl", "A.NDJSON", "a.ndjson.age"] {
            let expected = Some(vec![(1, "{}".to_owned()), (3, "{\"a\":1}".to_owned())]);
            assert_eq!(numbered(name, text), expected, "{name}");
        }
        for name in ["a.json", "ndjson", "a.ndjson.json", "a.age"] {
            assert_eq!(numbered(name, text), None, "{name}");
        }
        assert_eq!(numbered("a.ndjson", "\n \n"), Some(Vec::new()));
    }
}
