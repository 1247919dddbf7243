//! The world at the start: what the configuration's sizes ask for, drawn from its seed.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use serde_json::Map;
use uuid::Uuid;

use super::Config;
use super::access::{Account, Tokens};
use super::catalogue::Catalogue;
use super::limit::Limiter;
use super::seed::Stream;
use super::state::{Draft, State};
use super::views::{Origin, WorkspaceTypeForm};

/// Entries in a page at most, whatever `first` asks for.
const PAGE_CAP: u64 = 100;

impl State {
    pub(super) fn seeded(config: &Config) -> Self {
        let mut stream = Stream::new(config.seed);
        let tokens = Tokens {
            master: stream.secret("master"),
            api_user: stream.secret("api-user"),
            personal_api_user: stream.secret("personal"),
        };
        let catalogue = Catalogue::drawn_from(&mut stream);
        let mut state = Self {
            shared_workspace: Uuid::nil(),
            personal_workspace: Uuid::nil(),
            stream,
            catalogue,
            tokens,
            users: Vec::new(),
            authentications: Vec::new(),
            creations: Vec::new(),
            workspaces: Vec::new(),
            workspace_type_form: WorkspaceTypeForm::Title,
            full_read_enabled: config.full_read_enabled,
            page_cap: PAGE_CAP,
            limiter: config.limit.map(|limit| Limiter::new(limit, Instant::now())),
            limit_rejections: 0,
            requests: BTreeMap::new(),
            faults: Vec::new(),
            user_tokens: HashMap::new(),
            user_token_lifetime: config.user_token_lifetime,
            last_sequence: 0,
        };
        state.add_workspace("Emulated organisation", "Organization", |_| Account::Organisation);
        state.shared_workspace = state.add_workspace("Integrations", "Shared", Account::Workspace);
        state.personal_workspace = state.add_workspace("Admin's own", "Personal", Account::Workspace);
        state.populate(config);
        state
    }

    fn populate(&mut self, config: &Config) {
        const COMPANIES: [&str; 5] = ["Acme", "Globex", "Initech", "Umbrella", "Hooli"];
        let environments = self.catalogue.environments();
        let productions: Vec<_> = environments.iter().filter(|environment| environment.title == "Production").collect();
        for index in 0..config.users {
            let number = index + 1;
            let name = format!("{} {number}", COMPANIES[index % COMPANIES.len()]);
            let user = self.add_user(name, format!("acme-{number}"), false);
            for nth in 0..config.authentications_per_user {
                let environment = productions[(index + nth) % productions.len()];
                let name = format!("{} of acme-{number} #{}", environment.service, nth + 1);
                self.add_seeded(Account::User(user), environment.id, name, true);
            }
        }
        // The first is of the custom OAuth app; the second of a service that needs no environment to be understood,
        // so it can be the one that the list shows with nulls.
        let in_workspace = ["Acme CRM app", "http-client"].into_iter().filter_map(|wanted| {
            environments.iter().find(|environment| environment.title == wanted || environment.service == wanted)
        });
        let in_workspace: Vec<_> = in_workspace.chain(productions.iter().copied()).collect();
        for nth in 0..config.workspace_authentications {
            let environment = in_workspace[nth % in_workspace.len()];
            let name = format!("Shared {} #{}", environment.service, nth + 1);
            self.add_seeded(Account::Workspace(self.shared_workspace), environment.id, name, nth != 1);
        }
    }

    fn add_seeded(&mut self, owner: Account, environment: Uuid, name: String, is_listed_in_full: bool) {
        let draft = Draft {
            name,
            service_environment_id: environment,
            credentials: self.issue(environment),
            user_data: Map::new(),
            scopes: None,
            on_prem_agent_group_id: None,
        };
        self.store(owner, Origin::Seed, draft);
        if let Some(stored) = self.authentications.last_mut() {
            stored.is_listed_in_full = is_listed_in_full;
        }
    }
}
