//! A connection's stream, at which one can look while hyper has it.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    mem::MaybeUninit,
    net::Shutdown,
    os::unix::net::UnixStream,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    time::sleep,
};
use zeroize::Zeroize;

use crate::system::watched::Watched;

/// How often it is looked whether a caller that sends no more is there still.
const LOOKS_EVERY: Duration = Duration::from_secs(1);

/// How much is read at once, in bytes.
const PART: usize = 4096;

/// A stream that is told when there is something to read, and only while it waits for it when there is room to write:
/// tokio's own is told that at each answer that a caller takes.
pub(super) struct Stream {
    socket: Arc<Watched>,
    /// The same socket, from where an answer does not fit until all of it is written.
    full: Option<Watched>,
}

/// What sees whether the caller is there still.
pub(super) struct Presence(Arc<Watched>);

impl Stream {
    /// Belongs to the runtime that it is made in.
    ///
    /// # Errors
    /// The kernel does not watch it.
    pub(super) fn new(socket: UnixStream) -> io::Result<Self> {
        Ok(Self { socket: Arc::new(Watched::new(socket, Interest::READABLE)?), full: None })
    }

    pub(super) fn presence(&self) -> Presence {
        Presence(Arc::clone(&self.socket))
    }

    fn write(&mut self, context: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            let mut room = match &self.full {
                Some(full) => Some(ready!(full.poll_write_ready(context))?),
                None => None,
            };
            // Where nobody is there any more, it is an error and no signal.
            match sendmsg(self.socket.get_ref(), parts, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL) {
                Err(Errno::AGAIN) => {
                    if let Some(room) = &mut room {
                        room.clear_ready();
                    } else {
                        let again = self.socket.get_ref().try_clone()?;
                        self.full = Some(Watched::new(again, Interest::WRITABLE)?);
                    }
                }
                Err(Errno::INTR) => {}
                written => return Poll::Ready(written.map_err(io::Error::from)),
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut part = [MaybeUninit::uninit(); PART];
        let part = &mut part[..buffer.remaining().min(PART)];
        let most = part.len();
        loop {
            let mut ready = ready!(self.socket.poll_read_ready(context))?;
            match recv(ready.get_ref(), &mut *part, RecvFlags::empty()) {
                Ok(((read, _), _)) => {
                    if read.len() < most {
                        // That was all, and the next look would find nothing; but for a caller that passes descriptors
                        // along, whose request may have to wait for more of it.
                        ready.clear_ready();
                    }
                    buffer.put_slice(read);
                    // It may be a passphrase.
                    read.zeroize();
                    return Poll::Ready(Ok(()));
                }
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.write(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Comes after everything that was to be written is.
    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.full = None;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket.get_ref().shutdown(Shutdown::Write))
    }
}

impl Presence {
    /// Resolves once the caller has hung up while something is done for it. One that has only shut down its writing side
    /// (`shutdown(2)`, `SHUT_WR`) is there still, and reads its answer.
    pub(super) async fn ends(&self, is_busy: impl Fn() -> bool) {
        // Whether it is busy changes with what else the task does: it is looked at whenever that goes on.
        let stirs = |context: &mut Context<'_>| {
            if is_busy() { self.0.poll_read_ready(context).map_ok(|_| ()) } else { Poll::Pending }
        };
        while poll_fn(stirs).await.is_ok() && !self.has_ended() {
            // It has said that it sends no more, or has sent the next request: nothing tells when it hangs up then.
            sleep(LOOKS_EVERY).await;
        }
    }

    fn has_ended(&self) -> bool {
        let mut ends = [PollFd::new(self.0.get_ref(), PollFlags::empty())];
        let looked = poll(&mut ends, Some(&Timespec::default()));
        looked.is_ok() && ends[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn pair() -> (tokio::net::UnixStream, Stream) {
        let (near, far) = UnixStream::pair().expect("a pair");
        near.set_nonblocking(true).expect("a socket");
        (tokio::net::UnixStream::from_std(near).expect("a socket"), Stream::new(far).expect("a socket"))
    }

    /// Whether it is over once all that can go on has, and more than a second has passed.
    async fn ends(mut waiting: Pin<&mut impl Future<Output = ()>>) -> bool {
        tokio::time::timeout(3 * LOOKS_EVERY, waiting.as_mut()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn who_hangs_up_is_seen_though_it_sends_no_more_or_has_sent_the_next_already() {
        for (says_so, sends_on) in [(false, false), (true, false), (false, true)] {
            let (mut near, far) = pair();
            if says_so {
                near.shutdown().await.expect("it is open");
            }
            if sends_on {
                near.write_all(b"GET /").await.expect("it is open");
            }
            let presence = far.presence();
            let mut waiting = std::pin::pin!(presence.ends(|| true));
            assert!(!ends(waiting.as_mut()).await, "the caller waits");
            drop(near);
            assert!(ends(waiting.as_mut()).await);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn between_two_requests_it_is_hypers_to_see() {
        let (near, far) = pair();
        let is_busy = Cell::new(false);
        let presence = far.presence();
        let mut waiting = std::pin::pin!(presence.ends(|| is_busy.get()));
        drop(near);
        assert!(!ends(waiting.as_mut()).await, "nothing is done for it");
        is_busy.set(true);
        assert!(ends(waiting.as_mut()).await);
    }

    #[tokio::test]
    async fn what_does_not_fit_is_written_once_there_is_room_and_read_in_parts() {
        let sent: Vec<u8> =
            (0..5_000_000_u32).map(|number| number.to_le_bytes()[usize::from(number % 4 == 1)]).collect();
        let (near, mut far) = pair();
        let mut near = Stream::new(near.into_std().expect("a socket")).expect("a socket");
        let (mut received, expected) = (Vec::new(), sent.clone());
        let sending = async move {
            let (head, rest) = sent.split_at(1_000);
            far.write_all(head).await.expect("it is open");
            assert!(far.full.is_none());
            far.write_all(rest).await.expect("it is open");
            assert!(far.full.is_some(), "there was no room");
            far.flush().await.expect("it is open");
            assert!(far.full.is_none(), "it is written");
            far.shutdown().await.expect("it is open");
        };
        let receive = async {
            near.read_to_end(&mut received).await.expect("it is open");
        };
        tokio::join!(sending, receive);
        assert!(received == expected);
    }
}
