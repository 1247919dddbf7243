//! A connection's stream, at which one can look while hyper has it.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
    time::sleep,
};

/// How often it is looked whether a caller that sends no more is there still.
const LOOKS_EVERY: Duration = Duration::from_secs(1);

/// Cheap to clone. One task at a time may wait for it.
#[derive(Clone)]
pub(super) struct Stream(Arc<Mutex<UnixStream>>);

impl Stream {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self(Arc::new(Mutex::new(stream)))
    }

    /// Resolves once the caller has hung up while something is done for it. One that has only shut down its writing side
    /// (`shutdown(2)`, `SHUT_WR`) is there still, and reads its answer.
    pub(super) async fn hung_up(&self, is_busy: impl Fn() -> bool) {
        // Whether it is busy changes with what else the task does: it is looked at whenever that goes on.
        let stirs =
            |context: &mut Context<'_>| if is_busy() { self.end().poll_read_ready(context) } else { Poll::Pending };
        while poll_fn(stirs).await.is_ok() && !self.is_hung_up() {
            // It has said that it sends no more, or has sent the next request: nothing tells when it hangs up then.
            sleep(LOOKS_EVERY).await;
        }
    }

    fn is_hung_up(&self) -> bool {
        let stream = self.end();
        let mut ends = [PollFd::new(&*stream, PollFlags::empty())];
        let looked = poll(&mut ends, Some(&Timespec::default()));
        looked.is_ok() && ends[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
    }

    fn end(&self) -> MutexGuard<'_, UnixStream> {
        // A panic leaves it as it was.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.end()).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.end()).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.end()).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.end().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.end()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.end()).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::io::AsyncWriteExt;

    use super::*;

    fn pair() -> (UnixStream, Stream) {
        let (near, far) = UnixStream::pair().expect("a pair");
        (near, Stream::new(far))
    }

    /// Whether it is over once all that can go on has, and more than a second has passed.
    async fn ends(mut waiting: Pin<&mut impl Future<Output = ()>>) -> bool {
        tokio::time::timeout(3 * LOOKS_EVERY, waiting.as_mut()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_hung_up_is_seen() {
        let (near, far) = pair();
        let mut waiting = std::pin::pin!(far.hung_up(|| true));
        assert!(!ends(waiting.as_mut()).await, "the caller waits");
        drop(near);
        assert!(ends(waiting.as_mut()).await);
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_no_more_or_the_next_already_is_there_still() {
        for sends_on in [false, true] {
            let (mut near, far) = pair();
            if sends_on {
                near.write_all(b"GET /").await.expect("it is open");
            } else {
                near.shutdown().await.expect("it is open");
            }
            let mut waiting = std::pin::pin!(far.hung_up(|| true));
            assert!(!ends(waiting.as_mut()).await, "the caller waits");
            drop(near);
            assert!(ends(waiting.as_mut()).await);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn between_two_requests_it_is_hypers_to_see() {
        let (near, far) = pair();
        let is_busy = Cell::new(false);
        let mut waiting = std::pin::pin!(far.hung_up(|| is_busy.get()));
        drop(near);
        assert!(!ends(waiting.as_mut()).await, "nothing is done for it");
        is_busy.set(true);
        assert!(ends(waiting.as_mut()).await);
    }
}
