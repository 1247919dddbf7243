//! The log's entries in journald, as fields that it can be asked for. What counts is the log: journald is told afterwards, by
//! a thread that nobody waits for.

use std::{
    io,
    sync::{
        OnceLock,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
};

use super::{
    anchor::Anchor,
    event::{Event, Outcome},
};
use crate::{
    crypto::{hex, sha256},
    system::journald::{Journald, datagram},
};

/// How many entries may wait for journald. Beyond, they are in the log alone.
const WAITING: usize = 4096;

/// Names of journald's fields. docs/audit.md has them.
mod field {
    pub(super) const ACTION: &str = "TRAYVAULT_ACTION";
    pub(super) const AUTHENTICATION_ID: &str = "TRAYVAULT_AUTHENTICATION_ID";
    pub(super) const CALLER_UID: &str = "TRAYVAULT_CALLER_UID";
    pub(super) const CALLER_UNIT: &str = "TRAYVAULT_CALLER_UNIT";
    pub(super) const DECISION: &str = "TRAYVAULT_DECISION";
    pub(super) const MAC: &str = "TRAYVAULT_AUDIT_MAC";
    pub(super) const REQUEST_ID: &str = "TRAYVAULT_REQUEST_ID";
    pub(super) const RULE: &str = "TRAYVAULT_RULE";
    pub(super) const SEQUENCE: &str = "TRAYVAULT_AUDIT_SEQUENCE";
}

/// The action, as far as message ids are concerned, of an anchor.
const ANCHOR: &str = "audit.anchor";

#[derive(Default)]
pub(super) struct Mirror(OnceLock<SyncSender<Vec<u8>>>);

impl Mirror {
    pub(super) fn start(&self, journald: Journald) -> io::Result<()> {
        let (entries, waiting) = sync_channel(WAITING);
        thread::Builder::new().name("audit-journald".to_owned()).spawn(move || send_all(&journald, &waiting))?;
        // There is one already: it stays.
        let _ = self.0.set(entries);
        Ok(())
    }

    pub(super) fn tell(&self, sequence: u64, event: &Event) {
        if let Some(entries) = self.0.get() {
            send(entries, entry(sequence, event));
        }
    }

    pub(super) fn tell_anchor(&self, anchor: Anchor) {
        let Some(entries) = self.0.get() else { return };
        let (sequence, mac) = (anchor.sequence.to_string(), anchor.mac());
        let fields = [
            ("MESSAGE", format!("the audit log is at {anchor}")),
            ("PRIORITY", "6".to_owned()),
            ("SYSLOG_IDENTIFIER", "trayvault".to_owned()),
            ("MESSAGE_ID", message_id(ANCHOR)),
            (field::ACTION, ANCHOR.to_owned()),
            (field::SEQUENCE, sequence),
            (field::MAC, mac),
        ];
        send(entries, datagram(&fields.each_ref().map(|(name, value)| (*name, value.as_str()))));
    }
}

fn send(entries: &SyncSender<Vec<u8>>, datagram: Vec<u8>) {
    if let Err(TrySendError::Full(_)) = entries.try_send(datagram) {
        tracing::debug!("journald is slow: an entry is in the audit log alone");
    }
}

fn send_all(journald: &Journald, waiting: &Receiver<Vec<u8>>) {
    let mut failing = false;
    for datagram in waiting {
        match journald.send(&datagram) {
            Ok(()) => failing = false,
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(%error, "journald does not take audit entries: they are in the audit log alone");
            }
            Err(_) => {}
        }
    }
}

fn entry(sequence: u64, event: &Event) -> Vec<u8> {
    let (action, outcome) = (event.action.as_str(), event.outcome.as_str());
    let priority = match event.outcome {
        Outcome::Begun | Outcome::Done => "6",
        Outcome::Refused | Outcome::Failed => "4",
    };
    let message = match event.reason {
        Some(reason) => format!("{action}: {outcome}: {reason}"),
        None => format!("{action}: {outcome}"),
    };
    let actor = event.actor.as_ref();
    let given = [
        ("MESSAGE", Some(message)),
        ("PRIORITY", Some(priority.to_owned())),
        ("SYSLOG_IDENTIFIER", Some("trayvault".to_owned())),
        ("MESSAGE_ID", Some(message_id(action))),
        (field::ACTION, Some(action.to_owned())),
        (field::DECISION, Some(outcome.to_owned())),
        (field::AUTHENTICATION_ID, event.target.authentication.map(|id| id.to_string())),
        (field::CALLER_UID, actor.map(|actor| actor.uid.to_string())),
        (field::CALLER_UNIT, actor.and_then(|actor| actor.unit.clone())),
        (field::RULE, event.rule.as_deref().map(str::to_owned)),
        (field::REQUEST_ID, event.request.map(|id| id.to_string())),
        (field::SEQUENCE, Some(sequence.to_string())),
    ];
    let fields: Vec<_> = given.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect();
    datagram(&fields)
}

/// The id of an action's messages (`sd_journal_print(3)`, `MESSAGE_ID=`): the first half of SHA-256 of its name.
pub(super) fn message_id(action: &str) -> String {
    hex(&sha256(format!("trayvault audit {action}").as_bytes())[..16])
}
