//! The threads that answer: each serves its connections from their first request to their last, so that no answer has to
//! wake another thread, or to wait for one.

use std::{
    future::poll_fn,
    io, mem,
    num::NonZero,
    os::unix::net::UnixStream,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::{JoinSet, yield_now},
};

use super::stream::Stream;
use crate::pulse::Beat;

/// How many threads at most: what they do is over in microseconds.
const MOST: usize = 4;
/// One alone would be held up by whatever waits for the disk.
const LEAST: usize = 2;

/// How long a thread looks out for the next request before it goes to sleep.
const LOOK_OUT: Duration = Duration::from_micros(50);
/// What it takes a thread to wake up, in a virtual machine too.
const WAKE_UP: Duration = Duration::from_micros(50);

/// A connection that is being served.
pub(super) type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a connection is served by, once its stream belongs to the thread.
type Serve = Box<dyn FnOnce(Stream) -> Serving + Send>;

/// What a thread is told.
enum Job {
    Serve(UnixStream, Serve, Place),
    Beat(Beat),
}

/// The threads, and what each serves.
pub(super) struct Workers(Vec<Worker>);

struct Worker {
    jobs: mpsc::UnboundedSender<Job>,
    ended: oneshot::Receiver<()>,
    /// One for each connection that is served, besides this.
    load: Place,
}

type Place = Arc<()>;

impl Workers {
    /// Starts them: one for each core, within limits.
    ///
    /// # Errors
    /// The kernel gives no more threads.
    pub(super) fn start() -> io::Result<Self> {
        let cores = thread::available_parallelism().map_or(LEAST, NonZero::get);
        (0..cores.clamp(LEAST, MOST)).map(Worker::start).collect::<io::Result<_>>().map(Self)
    }

    /// Has a connection served by whichever serves the fewest.
    ///
    /// # Errors
    /// That one is gone, which is a bug.
    pub(super) fn serve(
        &self,
        stream: UnixStream,
        serve: impl FnOnce(Stream) -> Serving + Send + 'static,
    ) -> io::Result<()> {
        let idlest = self.0.iter().min_by_key(|worker| Arc::strong_count(&worker.load));
        let Some(worker) = idlest else { return Err(io::ErrorKind::NotFound.into()) };
        let job = Job::Serve(stream, Box::new(serve), Arc::clone(&worker.load));
        worker.jobs.send(job).map_err(|_| io::Error::other("a thread that answers has ended"))
    }

    /// Answers once each thread has shown that it goes on; drops the beat if one does not.
    pub(super) fn beat(&self, beat: Beat) -> impl Future<Output = ()> + use<> {
        let ask = |worker: &Worker| {
            let (answer, answered) = oneshot::channel();
            // One that is gone drops it.
            let _ = worker.jobs.send(Job::Beat(answer));
            answered
        };
        let answers: Vec<_> = self.0.iter().map(ask).collect();
        async move {
            for answer in answers {
                if answer.await.is_err() {
                    return;
                }
            }
            let _ = beat.send(());
        }
    }

    /// Waits for the connections that are open to end.
    pub(super) async fn end(self) {
        for Worker { jobs, ended, .. } in self.0 {
            drop(jobs);
            // Gone already, it has no connections left.
            let _ = ended.await;
        }
    }
}

impl Worker {
    fn start(number: usize) -> io::Result<Self> {
        let (jobs, told) = mpsc::unbounded_channel();
        let (end, ended) = oneshot::channel();
        let lookout = Arc::new(Lookout::new());
        let woken = Arc::clone(&lookout);
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().on_thread_unpark(move || woken.wakes()).build()?;
        thread::Builder::new().name(format!("api-{number}")).spawn(move || {
            runtime.block_on(serve_all(told, lookout));
            // Nobody may be waiting.
            let _ = end.send(());
        })?;
        Ok(Self { jobs, ended, load: Place::default() })
    }
}

async fn serve_all(mut told: mpsc::UnboundedReceiver<Job>, lookout: Arc<Lookout>) {
    let mut open = JoinSet::new();
    let looking_out = tokio::spawn({
        let lookout = Arc::clone(&lookout);
        async move { lookout.run().await }
    });
    loop {
        // Each time: where connections end faster than they are looked at one by one, they would be kept for ever.
        while open.try_join_next().is_some() {}
        let (stream, serve, place) = tokio::select! {
            job = told.recv() => match job {
                Some(Job::Serve(stream, serve, place)) => (stream, serve, place),
                Some(Job::Beat(beat)) => {
                    // Whoever asked may have stopped waiting.
                    let _ = beat.send(());
                    continue;
                }
                None => break,
            },
            Some(_) = open.join_next() => continue,
        };
        match Stream::new(stream) {
            Ok(stream) => {
                let mut served = serve(stream);
                let lookout = Arc::clone(&lookout);
                open.spawn(async move {
                    poll_fn(|context| {
                        lookout.want();
                        served.as_mut().poll(context)
                    })
                    .await;
                    drop(place);
                });
            }
            Err(error) => tracing::warn!(%error, "a connection could not be served"),
        }
    }
    while open.join_next().await.is_some() {}
    looking_out.abort();
}

/// Keeps a thread that has just answered awake for the next request: a caller that reads one after another would wait longer
/// for it to wake up than for the answer. Where the next one does not come at once, the thread sleeps.
struct Lookout {
    start: Instant,
    /// Whether something was done for a caller since this was looked at last.
    is_wanted: AtomicBool,
    /// When that was last so, in nanoseconds since the start.
    busy: AtomicU64,
    /// Whether what woke the thread last came so soon that it need not have slept.
    pays_off: AtomicBool,
    begin: Notify,
}

impl Lookout {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            is_wanted: AtomicBool::new(false),
            busy: AtomicU64::new(0),
            pays_off: AtomicBool::new(false),
            begin: Notify::new(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Something is done for a caller.
    fn want(&self) {
        self.is_wanted.store(true, Ordering::Relaxed);
        self.begin.notify_one();
    }

    /// The thread has slept.
    fn wakes(&self) {
        let idle = Duration::from_nanos(self.now() - self.busy.load(Ordering::Relaxed));
        self.pays_off.store(idle < LOOK_OUT + WAKE_UP, Ordering::Relaxed);
    }

    async fn run(&self) {
        loop {
            self.begin.notified().await;
            // What began it may have been done with since.
            let mut is_idle = !self.is_wanted.load(Ordering::Relaxed);
            loop {
                let pays_off = self.pays_off.load(Ordering::Relaxed);
                if self.is_wanted.swap(false, Ordering::Relaxed) && pays_off {
                    // The clock is read once there is nothing to do.
                    is_idle = false;
                } else {
                    let now = self.now();
                    if !mem::replace(&mut is_idle, true) {
                        self.busy.store(now, Ordering::Relaxed);
                    } else if Duration::from_nanos(now - self.busy.load(Ordering::Relaxed)) >= LOOK_OUT {
                        break;
                    }
                    if !pays_off {
                        break;
                    }
                    // Others on this core, who have something to do, go first.
                    thread::yield_now();
                }
                // Looks at the sockets, without waiting.
                yield_now().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_is_looked_out_for_once_more_without_having_been_there() {
        let lookout = Lookout::new();
        lookout.pays_off.store(true, Ordering::Relaxed);
        thread::sleep(LOOK_OUT);
        let mut running = Box::pin(lookout.run());
        // It was begun for one that was seen to before.
        lookout.begin.notify_one();
        assert!(futures_util::poll!(&mut running).is_pending());
        assert_eq!(lookout.busy.load(Ordering::Relaxed), 0);
        lookout.want();
        for _ in 0..2 {
            assert!(futures_util::poll!(&mut running).is_pending());
        }
        assert_ne!(lookout.busy.load(Ordering::Relaxed), 0, "from when there was nothing to do");
    }
}
