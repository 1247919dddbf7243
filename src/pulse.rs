//! Signs of life: who serves in a loop answers when asked, between two rounds, and so shows that it goes round.

use tokio::sync::{mpsc, oneshot};

/// Asks a loop.
#[derive(Clone)]
pub struct Pulse(mpsc::Sender<Beat>);

/// What a loop is asked with: it is sent to answer.
pub type Beat = oneshot::Sender<()>;

/// What a loop is asked through.
pub struct Beats(mpsc::Receiver<Beat>);

/// A loop's both ends.
pub fn pulse() -> (Pulse, Beats) {
    let (asks, asked) = mpsc::channel(1);
    (Pulse(asks), Beats(asked))
}

impl Pulse {
    /// Resolves when the loop has answered; `false` if it has ended.
    pub async fn beats(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        self.0.send(answer).await.is_ok() && answered.await.is_ok()
    }
}

impl Beats {
    /// Resolves when the loop is asked.
    pub async fn asked(&mut self) -> Beat {
        match self.0.recv().await {
            Some(beat) => beat,
            // Nobody is left to ask.
            None => std::future::pending().await,
        }
    }
}
