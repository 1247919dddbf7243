//! `trayvault emulator`.

use std::net::SocketAddr;

use clap::Args;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use super::{Code, Failure, output, trial::Trial};
use crate::emulator::{Config, Emulator, Tokens};

#[derive(Args)]
pub(super) struct Arguments {
    /// Where to listen; loopback only
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8099")]
    listen: SocketAddr,
    /// How many end users there are
    #[arg(long, value_name = "N", default_value_t = 3)]
    users: usize,
    /// How many authentications each of them has
    #[arg(long, value_name = "M", default_value_t = 2)]
    authentications_per_user: usize,
    /// The same seed gives the same ids, tokens and credentials
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Print addresses, tokens and configuration as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { listen, users, authentications_per_user, seed, json } = *arguments;
    let config = Config { listen, seed, users, authentications_per_user, ..Config::default() };
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let emulator = Emulator::start(config).await.map_err(|error| {
            Failure::of(Code::Unavailable, &error).hint("name a free loopback address with --listen".to_owned())
        })?;
        let (api_url, graphql_url, tokens) = (emulator.api_url(), emulator.graphql_url(), emulator.tokens());
        let trial = Trial { directory: "$PWD", api_url: &api_url, graphql_url: &graphql_url, user: "$(id -u)" };
        if json {
            output::json(&serde_json::json!({
                "api_url": api_url, "graphql_url": graphql_url, "tokens": tokens, "config": trial.config(),
            }))?;
        } else {
            output::line(&introduction(&trial, tokens))?;
        }
        // Blocks this thread alone; the server has others.
        signals.forever().next();
        emulator.stop().await;
        Ok(())
    })
}

fn introduction(trial: &Trial<'_>, tokens: &Tokens) -> String {
    format!(
        "# An emulated Tray listens on {api_url} until Ctrl-C. Its tokens open nothing else:
#   master token      {master}
#   API user's token  {api_user}
# Its state:  curl {api_url}/_emulator/state
# A fault:    curl --json '{{\"call\":\"full_read\",\"times\":1,\"kind\":{{\"status\":503}}}}' \\
#               {api_url}/_emulator/faults
#
# To try it, paste this into another terminal:
mkdir -p trayvault-try && cd trayvault-try && umask 077
printf %s '{master}' > master.token
printf %s '{api_user}' > api-user.token
cat > trayvault.toml <<END
{config}END
export TRAYVAULT_CONFIG=$PWD/trayvault.toml
# then: trayvault init, trayvault check, trayvault run",
        api_url = trial.api_url,
        master = tokens.master,
        api_user = tokens.api_user,
        config = trial.config(),
    )
}
