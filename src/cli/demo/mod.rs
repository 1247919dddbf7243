//! `trayvault demo`: the whole way once, with an emulated Tray and a real daemon in a temporary directory.

mod stage;
mod story;

use clap::Args;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use tokio::sync::oneshot;

use self::stage::Stage;
use super::{Code, Failure, output};

#[derive(Args)]
pub(super) struct Arguments {
    /// Print the secret that is read, too
    #[arg(long)]
    reveal: bool,
    /// Leave it running until Ctrl-C, to try requests on it
    #[arg(long)]
    keep: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let interrupted = interruption()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut stage = Stage::set_up().await?;
        let played = play(&mut stage, arguments, interrupted).await;
        stage.take_down().await;
        played
    })
}

/// Tells the story, and keeps the stage if asked to. Whatever this returns, the stage is taken down next.
async fn play(stage: &mut Stage, arguments: &Arguments, mut interrupted: oneshot::Receiver<()>) -> Result<(), Failure> {
    let read = tokio::select! {
        told = story::tell(stage, arguments.reveal) => told?,
        _ = &mut interrupted => return Err(Failure::new(Code::Interrupted, "interrupted")),
    };
    if arguments.keep {
        output::line(&stage.invitation(&read))?;
        // Until Ctrl-C, which here is the ordinary end.
        let _ = interrupted.await;
    }
    stage.stop_daemon().await
}

/// Resolves at Ctrl-C, SIGTERM, or when the terminal is closed.
fn interruption() -> Result<oneshot::Receiver<()>, Failure> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            // The story may be over already.
            let _ = sender.send(());
        }
    });
    Ok(receiver)
}
