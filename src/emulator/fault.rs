//! Faults to inject: what goes wrong on a call, how often, and whether before or after its work was done.

use serde::{Deserialize, Serialize};

use super::call::Call;

/// A fault that strikes the next matching requests that pass the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The call it strikes; `None` strikes all.
    #[serde(default)]
    pub call: Option<Call>,
    /// How many requests it strikes before it is gone.
    #[serde(default = "once")]
    pub times: u32,
    /// `true`: the work is done and only its answer is spoilt. `false`: the work is not done.
    #[serde(default)]
    pub after_work: bool,
    /// What goes wrong.
    pub kind: FaultKind,
}

fn once() -> u32 {
    1
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// An error with this HTTP status, in Tray's REST form. Values outside 100..=999 become 500.
    Status(u16),
    /// The right answer, late: the wait comes before the work or after it.
    DelayMs(u64),
    /// The TCP connection is closed without an answer.
    DropConnection,
    /// A proxy's HTML page with status 502.
    Html,
    /// A 200 whose JSON breaks off in the middle.
    TruncatedJson,
    /// Tray's own failure: a REST 500, or a GraphQL `InternalError` with an `errorId` in an HTTP 200, which with
    /// `after_work` stands beside the data.
    InternalError,
    /// A 200 with JSON of a shape that no call has: the contract's fields, none with its type.
    WrongType,
    /// A 200 that is compressed, which nobody asked for, and becomes 150 times as large.
    Gzip,
    /// The right answer, a byte every 20 ms.
    SlowBody,
    /// A 200 of 20 MiB.
    Huge,
}

impl Fault {
    /// A fault that strikes `call` once, before its work.
    pub fn before(call: Call, kind: FaultKind) -> Self {
        Self { call: Some(call), times: 1, after_work: false, kind }
    }

    /// A fault that strikes `call` once, after its work.
    pub fn after(call: Call, kind: FaultKind) -> Self {
        Self { after_work: true, ..Self::before(call, kind) }
    }

    /// The same fault, striking `times` requests.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }
}

/// Takes the first fault that strikes `call` off the list, leaving what remains of it.
pub(super) fn strike(faults: &mut Vec<Fault>, call: Call) -> Option<Fault> {
    let position = faults.iter().position(|fault| fault.times > 0 && fault.call.is_none_or(|struck| struck == call))?;
    let fault = faults[position];
    faults[position].times -= 1;
    faults.retain(|fault| fault.times > 0);
    Some(fault)
}
