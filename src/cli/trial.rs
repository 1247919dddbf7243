//! A configuration to try things out with, against the emulator.

/// Where its parts are. As values, or as what a shell makes values of.
pub(super) struct Trial<'a> {
    /// The directory that everything is in.
    pub(super) directory: &'a str,
    /// The emulator's REST API.
    pub(super) api_url: &'a str,
    /// The emulator's GraphQL API.
    pub(super) graphql_url: &'a str,
    /// The user who may read.
    pub(super) user: &'a str,
}

impl Trial<'_> {
    /// The configuration's text.
    pub(super) fn config(&self) -> String {
        let Self { directory, api_url, graphql_url, user } = self;
        format!(
            r#"state_directory = "{directory}/state"

[vault]
unlock = {{ key_file = "{directory}/vault.key" }}

[tray]
api_url = "{api_url}"
graphql_url = "{graphql_url}"

[tokens]
master = {{ file = "{directory}/master.token" }}
api_user = {{ file = "{directory}/api-user.token" }}

[ingest]
directory = "{directory}/drop"

[socket]
directory = "{directory}/run"

[[pull.rules]]
name = "finance stays in Tray"
effect = "deny"
services = ["netsuite"]

[[pull.rules]]
name = "everything else"
effect = "allow"

[[access.rules]]
name = "the one who tries it out"
users = ["{user}"]
grants = ["metadata", "read", "refresh", "sync", "ingest", "manage"]
"#
        )
    }
}
