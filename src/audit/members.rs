//! An object's members, as JSON (RFC 8259), each appended to the text so far: their names are this program's and are not
//! looked through for what would have to be escaped, which took as long as all that they are the names of.

use serde::Serialize;
use uuid::Uuid;

use crate::crypto::push_hex;

/// Appends members to an object that is open.
pub(super) struct Members<'a>(pub(super) &'a mut Vec<u8>);

impl Members<'_> {
    /// Opens an object within this one for what it is given, and closes it.
    pub(super) fn object(&mut self, name: &'static str, members: impl FnOnce(&mut Members<'_>)) {
        self.name(name);
        self.0.push(b'{');
        members(self);
        self.0.push(b'}');
    }

    /// Any value that serde_json knows how to write.
    pub(super) fn value(&mut self, name: &'static str, value: &(impl Serialize + ?Sized)) {
        self.name(name);
        serde_json::to_writer(&mut *self.0, value)
            .unwrap_or_else(|_| unreachable!("what is recorded are plain values, and a vector takes all"));
    }

    /// A word of this program's.
    pub(super) fn word(&mut self, name: &'static str, word: &'static str) {
        self.quoted(name, |text| text.extend_from_slice(word.as_bytes()));
    }

    pub(super) fn id(&mut self, name: &'static str, id: Uuid) {
        let mut digits = Uuid::encode_buffer();
        self.quoted(name, |text| text.extend_from_slice(id.as_hyphenated().encode_lower(&mut digits).as_bytes()));
    }

    pub(super) fn hex(&mut self, name: &'static str, bytes: &[u8]) {
        self.quoted(name, |text| push_hex(text, bytes));
    }

    fn quoted(&mut self, name: &'static str, append: impl FnOnce(&mut Vec<u8>)) {
        self.name(name);
        self.0.push(b'"');
        append(self.0);
        self.0.push(b'"');
    }

    /// INVARIANT: a name has no quotation mark, backslash or control character.
    fn name(&mut self, name: &'static str) {
        if self.0.last() != Some(&b'{') {
            self.0.push(b',');
        }
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }
}
