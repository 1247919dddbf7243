//! What a command reads: a file, or standard input for `-`.

use std::{
    fs::File,
    io::{self, Cursor, Read},
    path::Path,
};

use zeroize::Zeroizing;

use super::{Code, Failure};
use crate::{
    sealed::{self, HEAD_LEN},
    secret::SecretBytes,
};

/// What stands for standard input.
pub(super) const STDIN: &str = "-";

/// An open file whose beginning is known.
pub(super) struct Input {
    head: Zeroizing<Vec<u8>>,
    rest: Box<dyn Read>,
}

impl Input {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let unreadable = |error: io::Error| {
            let message = format!("can't read {}: {error}", path.display());
            Failure::new(if error.kind() == io::ErrorKind::NotFound { Code::NoInput } else { Code::Io }, message)
        };
        let mut rest: Box<dyn Read> = if path == Path::new(STDIN) {
            Box::new(io::stdin())
        } else {
            Box::new(File::open(path).map_err(unreadable)?)
        };
        let head_len = u64::try_from(HEAD_LEN).unwrap_or(u64::MAX);
        let mut head = Zeroizing::new(Vec::with_capacity(HEAD_LEN));
        rest.by_ref().take(head_len).read_to_end(&mut head).map_err(unreadable)?;
        Ok(Self { head, rest })
    }

    /// Whether it is sealed already.
    pub(super) fn is_sealed(&self) -> bool {
        sealed::is_sealed(&self.head)
    }

    /// All of it, from the beginning.
    pub(super) fn into_reader(self) -> impl Read {
        Cursor::new(self.head).chain(self.rest)
    }

    /// All of it in memory, if it is not longer than `limit` bytes.
    pub(super) fn read(self, limit: usize) -> Result<SecretBytes, Failure> {
        let mut content = Zeroizing::new(Vec::new());
        let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        // A buffer that grew leaves copies, which the allocator wipes.
        self.into_reader().take(most).read_to_end(&mut content)?;
        if content.len() > limit {
            return Err(Failure::new(Code::Data, format!("it is larger than {limit} bytes")));
        }
        Ok(content.into())
    }
}
