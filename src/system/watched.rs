//! Sockets that the runtime watches for one thing alone: tokio's own are watched for all.

#![expect(unsafe_code, reason = "tokio asks that a descriptor stays open while it is registered")]

use std::{io, ops::Deref, os::unix::net::UnixStream};

use tokio::io::{Interest, unix::AsyncFd};

/// A socket that is watched.
pub struct Watched(AsyncFd<UnixStream>);

impl Watched {
    /// Has the runtime, in which this is called, watch a socket.
    ///
    /// # Errors
    /// The kernel does not watch it.
    pub fn new(socket: UnixStream, interest: Interest) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        // SAFETY: the socket owns its descriptor and stays where it is: only references to it are given out.
        Ok(Self(unsafe { AsyncFd::register_with_interest(socket, interest)? }))
    }
}

impl Deref for Watched {
    type Target = AsyncFd<UnixStream>;

    fn deref(&self) -> &AsyncFd<UnixStream> {
        &self.0
    }
}
