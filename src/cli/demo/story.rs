//! The story, told while it happens.

use std::{fs, time::Duration};

use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::stage::{Said, Stage, write_private};
use crate::{
    cli::{Code, Failure, output},
    emulator::{AuthenticationView, Call},
    system::peer,
};

/// Tells it. Returns the id of the authentication that was read.
pub(super) async fn tell(stage: &mut Stage, reveal: bool) -> Result<String, Failure> {
    let upstream = stage.emulator.world().state();
    heading(1, "An emulated Tray, and a vault")?;
    output::line(&format!("Tray is emulated on {}: {} end users and", stage.emulator.api_url(), upstream.users))?;
    output::line(&format!("a shared workspace with {} authentications between them.", upstream.authentications))?;
    show(stage, &["init"]).await?;

    heading(2, "A real daemon unlocks it and synchronises")?;
    let pid = stage.start_daemon().await?;
    output::line(&format!("The daemon runs as process {pid}; it has unlocked the vault and answers."))?;
    waiting("first synchronisation", first_cycle(stage)).await?;
    let world = stage.emulator.world();
    let of = |call| world.requests(call);
    output::line(&format!(
        "It asked Tray for {} list of users, {} user tokens,",
        of(Call::ListUsers),
        of(Call::Authorize)
    ))?;
    output::line(&format!(
        "{} lists of authentications and {} full reads.",
        of(Call::ListAuthentications),
        of(Call::FullRead)
    ))?;
    show(stage, &["status"]).await?;
    show(stage, &["list"]).await?;

    heading(3, "Files that are dropped go upstream")?;
    create(stage).await?;
    update(stage).await?;
    reject(stage).await?;
    output::line("")?;
    show(stage, &["sync"]).await?;

    heading(4, "Who asks decides what is answered")?;
    let id = seeded(stage, "salesforce")?.id.to_string();
    read(stage, &id, reveal).await?;
    refuse(stage, &id).await?;

    heading(5, "All of it is on record")?;
    show(stage, &["status"]).await?;
    show(stage, &["audit", "verify"]).await?;
    output::line("\nThat was the whole way once.")?;
    Ok(id)
}

async fn first_cycle(stage: &Stage) -> Result<(), Failure> {
    loop {
        let said = expect(stage.command(&["status", "--json"]).await?, 0)?;
        let status: Value = serde_json::from_slice(&said.output).unwrap_or_default();
        if status["sync"]["last"].is_object() {
            return Ok(());
        }
    }
}

async fn create(stage: &mut Stage) -> Result<(), Failure> {
    let document = json!({
        "version": 1, "action": "create", "name": "Dropped Slack",
        "user": { "externalUserId": "acme-3" },
        "service": { "name": "slack", "version": 2 }, "environment": "Production",
        "credentials": { "accessToken": invented() },
    });
    drop_file(stage, "create-slack.json", &document)?;
    output::line("dropped create-slack.json: a Slack token of acme-3's")?;
    let receipt = outcome(stage, "done/create-slack.json.receipt.json").await?;
    output::line(&format!("  receipt: {} {}", text(&receipt, "outcome"), text(&receipt, "authenticationId")))
}

async fn update(stage: &mut Stage) -> Result<(), Failure> {
    let id = seeded(stage, "slack")?.id;
    let document = json!({
        "version": 1, "action": "update", "authenticationId": id,
        "credentials": { "accessToken": invented() },
    });
    drop_file(stage, "update-slack.json", &document)?;
    output::line("dropped update-slack.json: a part; the rest is read from Tray just before")?;
    let receipt = outcome(stage, "done/update-slack.json.receipt.json").await?;
    output::line(&format!("  receipt: {} {}", text(&receipt, "outcome"), text(&receipt, "authenticationId")))
}

async fn reject(stage: &mut Stage) -> Result<(), Failure> {
    let document = json!({
        "version": 1, "action": "create", "name": "Half a NetSuite",
        "user": { "externalUserId": "acme-1" },
        "service": { "name": "netsuite", "version": 1 }, "environment": "Production",
        "credentials": { "token_id": invented() },
    });
    drop_file(stage, "broken-netsuite.json", &document)?;
    output::line("dropped broken-netsuite.json: it lacks what the service's schema requires")?;
    let reason = outcome(stage, "rejected/broken-netsuite.json.reason.json").await?;
    let (clause, pointers) = text(&reason, "reason").split_once(" at /").unwrap_or((text(&reason, "reason"), ""));
    output::line(&format!("  rejected: {clause}"))?;
    for pointer in pointers.split(", ").filter(|pointer| !pointer.is_empty()) {
        output::line(&format!("    /{}", pointer.trim_start_matches('/')))?;
    }
    output::line("  the file is kept in rejected/, sealed to the vault: trayvault ingest show")
}

async fn read(stage: &Stage, id: &str, reveal: bool) -> Result<(), Failure> {
    let arguments = ["get", id, "--field", "/credentials/access_token"];
    output::line(&format!("$ trayvault {}", arguments.join(" ")))?;
    let said = expect(stage.command(&arguments).await?, 0)?;
    let secret = String::from_utf8_lossy(&said.output);
    let secret = secret.trim_end();
    let shown = if reveal { secret.to_owned() } else { format!("({} characters; --reveal shows them)", secret.len()) };
    output::line(&shown)
}

async fn refuse(stage: &Stage, id: &str) -> Result<(), Failure> {
    if !peer::has_peer_pidfd()? {
        output::line("\nThis kernel (before Linux 6.5) can't say which process calls, so the workflow")?;
        return output::line("guard knows callers by their user alone, and is not shown here.");
    }
    output::line("\nThe same by a process named as Tray's on-prem agent, through which a workflow")?;
    output::line("could ask:")?;
    let arguments = ["get", id, "--field", "/credentials/access_token"];
    output::line(&format!("$ agent-linux-amd64 {}", arguments.join(" ")))?;
    let said = expect(stage.command_as_agent(&arguments).await?, Code::NoPermission as i32)?;
    output::line(said.error.trim_end())
}

/// Runs a command and shows it with what it said.
async fn show(stage: &Stage, arguments: &[&str]) -> Result<(), Failure> {
    let said = expect(stage.command(arguments).await?, 0)?;
    output::line(&format!("$ trayvault {}\n{}", arguments.join(" "), String::from_utf8_lossy(&said.output).trim_end()))
}

fn expect(said: Said, code: i32) -> Result<Said, Failure> {
    if said.code == code {
        return Ok(said);
    }
    let error = said.error.trim_end();
    Err(Failure::new(Code::Software, format!("a command ended with {} instead of {code}: {error}", said.code)))
}

/// An authentication of acme-1's.
fn seeded(stage: &Stage, service: &str) -> Result<AuthenticationView, Failure> {
    let all = stage.emulator.world().authentications();
    let missing = || Failure::new(Code::Software, format!("the emulator has no {service} authentication"));
    all.into_iter().find(|one| one.service == service).ok_or_else(missing)
}

/// Writes under another name first, as the delivery contract asks.
fn drop_file(stage: &Stage, name: &str, document: &Value) -> Result<(), Failure> {
    let draft = stage.path(&format!("drop/.{name}"));
    write_private(&draft, document.to_string().as_bytes())?;
    Ok(fs::rename(draft, stage.path(&format!("drop/{name}")))?)
}

async fn outcome(stage: &mut Stage, name: &str) -> Result<Value, Failure> {
    let path = stage.path(&format!("drop/{name}"));
    let content = stage.wait(name, || fs::read(&path).ok());
    let content = waiting(name, content).await?;
    serde_json::from_slice(&content).map_err(|_| Failure::new(Code::Software, format!("{name} is not JSON")))
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object[key].as_str().unwrap_or("-")
}

/// A secret that nobody knows, not even this text.
fn invented() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

fn heading(number: u8, title: &str) -> Result<(), Failure> {
    output::line(&format!("\n-- {number}. {title} --\n"))
}

/// Turns a wheel while something takes its time, on a terminal.
async fn waiting<T>(what: &str, work: impl Future<Output = T>) -> T {
    let wheel = ProgressBar::new_spinner().with_message(what.to_owned());
    wheel.enable_steady_tick(Duration::from_millis(80));
    let done = work.await;
    wheel.finish_and_clear();
    done
}
