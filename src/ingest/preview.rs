//! What would become of a document: found out as it is for a real one, and nothing is written, not in Tray and not in
//! the journal.

use super::{
    check::Checked,
    document::{Document, Request},
    intent::Operation,
    leaves::{Leaf, Leaves},
    plan::{Obstacle, Plan, Planner},
    refusal::{Kind, Refusal},
};
use crate::{
    authentication::{AuthenticationId, Metadata, Owner},
    principals::{Renewal, Session},
    requests::ingest::{Change, Does, Field, IngestRefusal, Preview},
    secret::SecretBytes,
    tray::FullView,
};

/// What stands for what Tray holds, where policy or Tray does not permit it to be read.
const UNREAD: &str =
    "what Tray holds may not be read in full: every field is shown as changed, and those that go are not shown";

impl Planner {
    /// What would become of a document, field by field and without any value.
    ///
    /// An end user who would be made is not. What an update in part takes by a full read is read as for a real one,
    /// under the same permit and with the same entry in the audit log; for a full replacement it is read to be compared
    /// with where that is permitted. The fingerprints are those of [`Leaves`].
    ///
    /// # Errors
    /// [`IngestRefusal::Unavailable`]: something is in the way for now, so that it can't be told.
    pub(super) async fn preview(&self, bytes: &SecretBytes) -> Result<Preview, IngestRefusal> {
        let previewed = match Document::parse(bytes) {
            Ok(document) => self.foresee(&document).await,
            Err(refusal) => Err(refusal.into()),
        };
        match previewed {
            Ok(preview) => Ok(preview),
            Err(Obstacle::Refused(refusal)) => Ok(rejected(refusal)),
            Err(Obstacle::Later(problem)) => Err(IngestRefusal::Unavailable(problem)),
            Err(Obstacle::TokenRejected) => Err(IngestRefusal::Unavailable("Tray does not accept a token".to_owned())),
        }
    }

    async fn foresee(&self, document: &Document<'_>) -> Result<Preview, Obstacle> {
        let Some(owner) = self.known_owner(document).await? else { return self.foresee_for_nobody(document).await };
        let session = self.principals.session(&owner).await.map_err(|error| Obstacle::of_session(&error))?;
        match self.foresee_for(document, &owner, &session).await {
            Err(Obstacle::TokenRejected)
                if matches!(self.principals.token_rejected(&owner, Some(&session)).await, Ok(Renewal::Renewed)) =>
            {
                let session = self.principals.session(&owner).await.map_err(|error| Obstacle::of_session(&error))?;
                self.foresee_for(document, &owner, &session).await
            }
            previewed => previewed,
        }
    }

    /// For an end user who would be made first, and has nothing yet.
    async fn foresee_for_nobody(&self, document: &Document<'_>) -> Result<Preview, Obstacle> {
        let (Request::Create(whole) | Request::Upsert(whole)) = &document.request else {
            unreachable!("only a create and an upsert make an end user")
        };
        let owner = document.user.external_id();
        let (_, body, Checked { notes, .. }) = self.complete(whole, None).await?;
        let after = Leaves::of_body(&self.cache, owner, &body)?;
        Ok(Preview::Accepted {
            does: Does::Create,
            owner: owner.map(str::to_owned),
            creates_user: true,
            authentication_id: None,
            name: Some(whole.name.clone()),
            fields: compared(None, Some(after)),
            notes,
        })
    }

    async fn foresee_for(
        &self,
        document: &Document<'_>,
        owner: &Owner,
        session: &Session,
    ) -> Result<Preview, Obstacle> {
        let Plan { sent, body, base } = self.plan(document, owner, session).await?;
        let external_id = owner.external_user_id();
        let after = body.as_ref().map(|body| Leaves::of_body(&self.cache, external_id, body)).transpose()?;
        let mut notes = sent.notes;
        let (does, fields) = match (&sent.operation, base) {
            (Operation::Create(_), _) => (Does::Create, compared(None, after)),
            (Operation::Replace { .. }, Some(base)) => (Does::Replace, compared(Some(base.into_leaves()), after)),
            (Operation::Replace { metadata }, None) => {
                let before = self.leaves_of(metadata, session).await?;
                if before.is_none() {
                    notes.push(UNREAD.to_owned());
                }
                (Does::Replace, if before.is_some() { compared(before, after) } else { unread(after) })
            }
            (Operation::Delete { id }, _) => (Does::Delete, compared(self.leaves_here(*id, external_id), None)),
        };
        Ok(Preview::Accepted {
            does,
            owner: external_id.map(str::to_owned),
            creates_user: false,
            authentication_id: sent.operation.authentication(),
            name: body.map(|body| body.name.into_owned()),
            fields,
            notes,
        })
    }

    /// What Tray holds; `None` where it may not be read.
    async fn leaves_of(&self, metadata: &Metadata, session: &Session) -> Result<Option<Leaves>, Obstacle> {
        let full = match self.read_in_full(metadata, session, "to compare a document with it").await {
            Ok(full) => full,
            Err(Obstacle::Refused(Refusal { kind: Kind::Policy, .. })) => return Ok(None),
            Err(obstacle) => return Err(obstacle),
        };
        let held = full.view().map_err(|error| Obstacle::of_call(&error))?;
        Leaves::of_held(&self.cache, metadata.owner.external_user_id(), &held).map(Some)
    }

    /// What is held here, if anything is: to show what a delete takes away is worth no request.
    fn leaves_here(&self, id: AuthenticationId, owner: Option<&str>) -> Option<Leaves> {
        let secret = self.cache.secret(id).ok().flatten()?;
        let held: FullView<'_> = serde_json::from_slice(secret.body.expose_secret()).ok()?;
        Leaves::of_held(&self.cache, owner, &held).ok()
    }
}

/// The fields of what is there and of what would be, in the order of their pointers.
fn compared(before: Option<Leaves>, after: Option<Leaves>) -> Vec<Field> {
    let mut before = before.unwrap_or_default();
    let mut fields: Vec<_> = after
        .unwrap_or_default()
        .into_sorted()
        .map(|(pointer, after)| {
            let before = before.take(&pointer);
            let change = match &before {
                None => Change::Added,
                Some(before) if before.fingerprint == after.fingerprint => Change::Same,
                Some(_) => Change::Changed,
            };
            field(change, before, Some(after))
        })
        .collect();
    fields.extend(before.into_sorted().map(|(_, leaf)| field(Change::Removed, Some(leaf), None)));
    fields.sort_by(|one, other| one.pointer.cmp(&other.pointer));
    fields
}

/// The fields of what would be there, beside what may not be read.
fn unread(after: Option<Leaves>) -> Vec<Field> {
    after.unwrap_or_default().into_sorted().map(|(_, leaf)| field(Change::Changed, None, Some(leaf))).collect()
}

fn field(change: Change, before: Option<Leaf>, after: Option<Leaf>) -> Field {
    let pointer = after.as_ref().or(before.as_ref()).map(|leaf| leaf.shown.clone()).unwrap_or_default();
    let fingerprint = |leaf: Option<Leaf>| leaf.map(|leaf| leaf.fingerprint.to_string());
    Field { pointer, change, before: fingerprint(before), after: fingerprint(after) }
}

fn rejected(refusal: Refusal) -> Preview {
    let Refusal { kind, reason, hint, pointer, line, column } = refusal;
    Preview::Rejected { kind: kind.as_str().to_owned(), reason, hint, pointer, line, column }
}
