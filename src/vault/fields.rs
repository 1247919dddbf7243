//! Fields in a row, as bytes that are authenticated: no two lists of fields give the same bytes.

/// Builds the bytes. Each field of varying length carries its length, so that `ab, c` differs from `a, bc`.
pub(super) struct Fields(Vec<u8>);

impl Fields {
    /// Starts with what the bytes are for, so that those of one purpose never pass for another's.
    pub(super) fn of(purpose: &str) -> Self {
        // More than any list of fields that is built for each read, so that it is one allocation.
        Self(Vec::with_capacity(256)).bytes(purpose.as_bytes())
    }

    pub(super) fn bytes(mut self, field: &[u8]) -> Self {
        self.0.extend_from_slice(&(field.len() as u64).to_be_bytes());
        self.0.extend_from_slice(field);
        self
    }

    pub(super) fn number(mut self, field: impl Into<u64>) -> Self {
        self.0.extend_from_slice(&field.into().to_be_bytes());
        self
    }

    pub(super) fn signed(mut self, field: i64) -> Self {
        self.0.extend_from_slice(&field.to_be_bytes());
        self
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
