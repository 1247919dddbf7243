//! The journal's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): an entry is a datagram of fields.

use std::{io, os::unix::net::UnixDatagram, path::Path};

/// Where journald listens.
pub const SOCKET: &str = "/run/systemd/journal/socket";

/// A connection to journald.
pub struct Journald(UnixDatagram);

impl Journald {
    /// Connects to the socket at `path`.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        Ok(Self(socket))
    }

    /// Sends what [`datagram`] made.
    ///
    /// # Errors
    /// journald is gone, or the kernel has no room for it.
    pub fn send(&self, datagram: &[u8]) -> io::Result<()> {
        self.0.send(datagram).map(drop)
    }
}

/// An entry of these fields, whose names are of upper-case letters, digits and underscores.
pub fn datagram(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(512);
    for (name, value) in fields {
        datagram.extend(name.as_bytes());
        if value.contains('\n') {
            // No value can pass for another field.
            datagram.push(b'\n');
            datagram.extend((value.len() as u64).to_le_bytes());
        } else {
            datagram.push(b'=');
        }
        datagram.extend(value.as_bytes());
        datagram.push(b'\n');
    }
    datagram
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_with_a_line_end_is_no_further_field() {
        assert_eq!(datagram(&[("A", "1"), ("B", "x=y")]), b"A=1\nB=x=y\n");
        assert_eq!(datagram(&[("A", "1\nB=2")]), b"A\n\x05\0\0\0\0\0\0\x001\nB=2\n");
    }
}
