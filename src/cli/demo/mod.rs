//! `trayvault demo`: the whole way once, with an emulated Tray and a real daemon in a temporary directory.

mod stage;
mod story;

use clap::Args;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use tokio::sync::oneshot;

use self::stage::Stage;
use super::{Failure, output};

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
        let told = tokio::select! {
            told = tell(&mut stage, arguments) => told,
            // The stage is taken down in either case.
            _ = interrupted => Ok(()),
        };
        stage.take_down().await;
        told
    })
}

async fn tell(stage: &mut Stage, arguments: &Arguments) -> Result<(), Failure> {
    let read = story::tell(stage, arguments.reveal).await?;
    if arguments.keep {
        output::line(&stage.invitation(&read))?;
        // Until Ctrl-C.
        std::future::pending::<()>().await;
    }
    stage.stop_daemon().await
}

/// Resolves at Ctrl-C or SIGTERM.
fn interruption() -> Result<oneshot::Receiver<()>, Failure> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            // The story may be over already.
            let _ = sender.send(());
        }
    });
    Ok(receiver)
}
