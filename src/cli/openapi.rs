//! `trayvault openapi`.

use super::{Failure, output};

/// The API of `api.sock`, described in OpenAPI 3.1. Written by hand; tests/it/openapi.rs holds it against the routes and
/// their answers.
const DOCUMENT: &str = include_str!("../../docs/openapi.json");

pub(super) fn run() -> Result<(), Failure> {
    output::line(DOCUMENT.trim_end())
}
