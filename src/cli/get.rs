//! `trayvault get`.

use clap::Args;
use hyper::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use std::io::{self, Write};

use super::{Code, Connected, Failure, api};
use crate::{authentication::AuthenticationId, percent, secret::SecretBytes};

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    connected: Connected,
    /// The authentication's id
    id: AuthenticationId,
    /// Only this value: a JSON pointer such as /credentials/accessToken
    #[arg(long, value_name = "POINTER")]
    field: Option<String>,
    /// The oldest value that will do, such as 30s or 5m: Tray is asked for a newer one
    #[arg(long, value_name = "SPAN", value_parser = span)]
    max_age: Option<u64>,
    /// No stale value: Tray is asked for a fresh one
    #[arg(long)]
    require_fresh: bool,
    /// Print the daemon's whole answer, with age and revision
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct Revealed<'a> {
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    #[serde(borrow)]
    authentication: Option<&'a RawValue>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { field, max_age, require_fresh, .. } = arguments;
    let field = field.as_ref().map(|field| format!("field={}", percent::encode(field)));
    let max_age = max_age.map(|seconds| format!("max_age={seconds}"));
    let fresh = require_fresh.then(|| "require_fresh=true".to_owned());
    let query: Vec<_> = [field, max_age, fresh].into_iter().flatten().collect();
    let path = format!("/v1/authentications/{}/full?{}", arguments.id, query.join("&"));
    let answer = api::ask_raw(&arguments.connected, Method::GET, &path)?;
    let text = if arguments.json { answer } else { wanted(&answer)? };
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.expose_secret())?;
    Ok(stdout.write_all(b"\n")?)
}

/// Whole seconds.
fn span(text: &str) -> Result<u64, &'static str> {
    let span: Option<jiff::SignedDuration> = text.parse().ok();
    span.and_then(|span| u64::try_from(span.as_secs()).ok()).ok_or("a span of time is such as 30s or 5m")
}

/// The value alone; text without its quotes, as a shell wants it.
fn wanted(answer: &SecretBytes) -> Result<SecretBytes, Failure> {
    let Revealed { value, authentication } = serde_json::from_slice(answer.expose_secret())
        .map_err(|_| Failure::new(Code::Software, "the daemon's answer can't be understood"))?;
    let raw = value.or(authentication).map(RawValue::get).unwrap_or_default();
    let text: Result<String, _> = serde_json::from_str(raw);
    Ok(SecretBytes::new(text.unwrap_or_else(|_| raw.to_owned()).into_bytes()))
}
