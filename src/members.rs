//! An object's members, as JSON (RFC 8259), each appended to the text so far. For what is written at each read: a derived
//! serializer looks through each member's name for what would have to be escaped, which took as long as the values.

use serde::Serialize;
use uuid::Uuid;

use crate::crypto::push_hex;

/// Appends members to an object that is open.
pub(crate) struct Members<'a>(pub(crate) &'a mut Vec<u8>);

impl Members<'_> {
    /// Opens an object within this one for what it is given, and closes it.
    pub(crate) fn object(&mut self, name: &'static str, members: impl FnOnce(&mut Members<'_>)) {
        self.name(name);
        self.0.push(b'{');
        members(self);
        self.0.push(b'}');
    }

    /// Any value that serde_json knows how to write.
    pub(crate) fn value(&mut self, name: &'static str, value: &(impl Serialize + ?Sized)) {
        self.name(name);
        serde_json::to_writer(&mut *self.0, value)
            .unwrap_or_else(|_| unreachable!("these are plain values, and a vector takes all"));
    }

    /// A word of this program's.
    pub(crate) fn word(&mut self, name: &'static str, word: &'static str) {
        self.quoted(name, |text| text.extend_from_slice(word.as_bytes()));
    }

    pub(crate) fn id(&mut self, name: &'static str, id: Uuid) {
        let mut digits = Uuid::encode_buffer();
        self.quoted(name, |text| text.extend_from_slice(id.as_hyphenated().encode_lower(&mut digits).as_bytes()));
    }

    pub(crate) fn hex(&mut self, name: &'static str, bytes: &[u8]) {
        self.quoted(name, |text| push_hex(text, bytes));
    }

    fn quoted(&mut self, name: &'static str, append: impl FnOnce(&mut Vec<u8>)) {
        self.name(name);
        self.0.push(b'"');
        append(self.0);
        self.0.push(b'"');
    }

    /// The name alone: its value is still to be appended.
    ///
    /// INVARIANT: a name has no quotation mark, backslash or control character.
    pub(crate) fn name(&mut self, name: &'static str) {
        if self.0.last() != Some(&b'{') {
            self.0.push(b',');
        }
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }
}
