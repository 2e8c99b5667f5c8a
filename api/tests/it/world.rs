//! What the table of access rules speaks of: people with credentials, and things of the owner's, by name.
//!
//! Everything is put into the database directly: hashing passwords would make the table slow.

use chrono::{Duration, Utc};
use opb_core::{
    alerts,
    auth::{
        self, AccessToken, ApiKeyScope, ConfirmedIdentity, CurrentUser, NewApiKey, NewInvitation,
        Origin, PasswordHasher, RefreshToken, TokenKeys, UserRole, Visibility,
    },
    benchmarks, community, library,
    models::{self, Price, ProviderKind},
    runs::SubmitRun,
    schedules,
    template::PromptBody,
    webhooks,
};
use opb_testing::{fixtures, without_rules};
use secrecy::ExposeSecret as _;
use serde_json::json;
use sqlx::{PgPool, Postgres, pool::PoolConnection};
use uuid::Uuid;

use crate::server::master_key;

/// Who asks, in the order of the table's columns.
pub const ACTORS: [&str; 6] = ["anonymous", "other", "owner", "moderator", "admin", "key"];

/// The owner and the database, for one request.
pub struct World<'a> {
    pool: &'a PgPool,
    password_hash: &'a str,
    owner: CurrentUser,
}

/// The hash of `correct horse`, which all people here have.
pub async fn password_hash() -> String {
    let turn = PasswordHasher::new().turn().await.unwrap();
    let hash = turn.hash("password", "correct horse".into(), Vec::new());
    hash.await.unwrap()
}

/// Adds the model that runs here use.
pub async fn fixture_models(pool: &PgPool) {
    let mut conn = pool.acquire().await.unwrap();
    let simulated = ProviderKind::Simulated;
    let provider = models::ensure_provider(&mut conn, "simulated", simulated, None).await;
    let price = Price::new(150_000, 600_000);
    let priced = models::set_price(&mut conn, provider.unwrap(), "strong", price).await;
    priced.unwrap();
}

impl<'a> World<'a> {
    pub async fn new(pool: &'a PgPool, password_hash: &'a str) -> Self {
        let owner = person(pool, password_hash, UserRole::User).await;
        Self {
            pool,
            password_hash,
            owner,
        }
    }

    /// The credential of an actor.
    pub async fn credential(&self, actor: &str) -> String {
        let role = match actor {
            "anonymous" => return String::new(),
            "owner" => return self.token(&self.owner).await,
            "key" => return self.key().await.1,
            "moderator" => UserRole::Moderator,
            "admin" => UserRole::Admin,
            _ => UserRole::User,
        };
        let user = person(self.pool, self.password_hash, role).await;
        self.token(&user).await
    }

    /// Makes a thing and says what it is called: its slug, its id or its name.
    pub async fn fixture(&self, name: &str) -> String {
        match name {
            "owner" => self.owner.username.clone(),
            "fresh" => fresh(),
            "user" => {
                let user = person(self.pool, self.password_hash, UserRole::User).await;
                user.username
            }
            "session" => self.session(&self.owner).await.to_string(),
            "refresh_token" => self.refresh_token().await,
            "api_key" => self.key().await.0,
            "invitation" => self.invitation().await,
            "identity" => self.identity().await,
            "provider" => self.provider().await,
            "public_prompt" => self.prompt(Visibility::Public).await,
            "private_prompt" => self.prompt(Visibility::Private).await,
            "unlisted_prompt" => self.prompt(Visibility::Unlisted).await,
            "public_aliased" => self.aliased(Visibility::Public).await,
            "private_aliased" => self.aliased(Visibility::Private).await,
            "unlisted_aliased" => self.aliased(Visibility::Unlisted).await,
            "alias" => "production".to_owned(),
            "latest" => "latest".to_owned(),
            "public_change_request" => self.change_request(Visibility::Public).await,
            "private_change_request" => self.change_request(Visibility::Private).await,
            "unlisted_change_request" => self.change_request(Visibility::Unlisted).await,
            "saved_search" => self.saved_search().await,
            "public_benchmark" => self.benchmark(Visibility::Public).await,
            "private_benchmark" => self.benchmark(Visibility::Private).await,
            "unlisted_benchmark" => self.benchmark(Visibility::Unlisted).await,
            "public_run" => self.run(Visibility::Public).await,
            "private_run" => self.run(Visibility::Private).await,
            "unlisted_run" => self.run(Visibility::Unlisted).await,
            // Public runs, a part of which its owner has taken back since.
            "run_without_prompt" => {
                let parts = "update prompts set visibility = 'private' where owner_id = $1";
                self.run_without(parts, self.owner.id).await
            }
            "run_without_benchmark" => {
                let parts = "update benchmarks set visibility = 'private' where owner_id = $1";
                self.run_without(parts, self.owner.id).await
            }
            "run_with_deleted_prompt" => {
                let parts = "update prompts set visibility = 'private', deleted_at = now() where owner_id = $1";
                self.run_without(parts, self.owner.id).await
            }
            "run_with_deleted_benchmark" => {
                let parts = "update benchmarks set deleted_at = now() where owner_id = $1";
                self.run_without(parts, self.owner.id).await
            }
            // The same with parts of another user: the run's owner keeps the numbers alone.
            "run_without_foreign_prompt" => {
                let other = person(self.pool, self.password_hash, UserRole::User).await;
                let parts = "with given as (update benchmarks set owner_id = $1 where owner_id = $2)
                             update prompts set visibility = 'private', owner_id = $1 where owner_id = $2";
                self.run_of_another(parts, other.id).await
            }
            "run_without_foreign_benchmark" => {
                let other = person(self.pool, self.password_hash, UserRole::User).await;
                let parts = "with given as (update prompts set owner_id = $1 where owner_id = $2)
                             update benchmarks set visibility = 'private', owner_id = $1 where owner_id = $2";
                self.run_of_another(parts, other.id).await
            }
            "ended_run" => self.ended_run().await,
            "one" => "1".to_owned(),
            "public_comment" => self.comment(Visibility::Public).await,
            "private_comment" => self.comment(Visibility::Private).await,
            "unlisted_comment" => self.comment(Visibility::Unlisted).await,
            "public_collection" => self.collection(Visibility::Public).await,
            "private_collection" => self.collection(Visibility::Private).await,
            "unlisted_collection" => self.collection(Visibility::Unlisted).await,
            "import" => self.import(false).await,
            "complete_import" => self.import(true).await,
            "judged_benchmark" => self.judged_benchmark().await,
            "preference" => self.preference().await,
            "schedule" | "private_schedule" => self.schedule().await.to_string(),
            "alert" => self.alert().await,
            "webhook" => self.webhook().await,
            // Of another webhook of the owner's than the one before it in the path.
            "delivery" => self.delivery().await,
            "paused_schedule" => self.paused_schedule().await,
            unknown => panic!("there is no fixture `{unknown}`: add it to world.rs"),
        }
    }

    async fn conn(&self) -> PoolConnection<Postgres> {
        self.pool.acquire().await.unwrap()
    }

    async fn session(&self, user: &CurrentUser) -> Uuid {
        let insert = "insert into sessions (id, user_id, idle_expires_at, expires_at)
                      values ($1, $2, now() + interval '1 day', now() + interval '1 day')";
        let id = Uuid::now_v7();
        let insert = sqlx::query(insert).bind(id).bind(user.id);
        insert.execute(self.pool).await.unwrap();
        id
    }

    async fn token(&self, user: &CurrentUser) -> String {
        let token = AccessToken {
            user_id: user.id,
            session_id: self.session(user).await,
        };
        let now = Utc::now();
        let keys = TokenKeys::new(&master_key());
        let token = keys.issue_access(token, now, now + Duration::days(1));
        token.unwrap().expose_secret().to_owned()
    }

    async fn refresh_token(&self) -> String {
        let token = RefreshToken {
            user_id: self.owner.id,
            session_id: self.session(&self.owner).await,
            counter: 0,
        };
        let now = Utc::now();
        let keys = TokenKeys::new(&master_key());
        let token = keys.issue_refresh(token, now, now + Duration::days(1));
        token.unwrap().expose_secret().to_owned()
    }

    /// The id of a key of the owner's that may read only, and the key.
    async fn key(&self) -> (String, String) {
        let new = NewApiKey {
            name: format!("reads {}", Uuid::now_v7()),
            scopes: vec![ApiKeyScope::PromptsRead, ApiKeyScope::RunsRead],
            expires_at: None,
        };
        let mut conn = self.conn().await;
        let made = auth::create_scoped_api_key(&mut conn, &self.owner, new, &nowhere()).await;
        let (key, secret) = made.unwrap();
        (key.id.to_string(), secret.expose_secret().to_owned())
    }

    async fn invitation(&self) -> String {
        let admin = person(self.pool, self.password_hash, UserRole::Admin).await;
        let mut conn = self.conn().await;
        let new = NewInvitation::default();
        let made = auth::create_invitation(&mut conn, &admin, new, &nowhere()).await;
        made.unwrap().0.id.to_string()
    }

    async fn identity(&self) -> String {
        let confirmed = ConfirmedIdentity {
            provider: "op".into(),
            issuer: "https://op.example.org".into(),
            subject: fresh(),
            email: None,
            email_verified: false,
            name: None,
            may_register: false,
        };
        let mut conn = self.conn().await;
        let code = auth::keep_login(&mut conn, &confirmed, "browser")
            .await
            .unwrap();
        let code = code.expose_secret();
        let origin = nowhere();
        let linked = auth::link_identity(&mut conn, &self.owner, code, "browser", &origin);
        linked.await.unwrap().id.to_string()
    }

    async fn provider(&self) -> String {
        let name = fresh();
        let url = Some("https://models.example.org/v1");
        let mut conn = self.conn().await;
        let made = models::ensure_provider(&mut conn, &name, ProviderKind::Openai, url).await;
        made.unwrap();
        name
    }

    async fn prompt(&self, visibility: Visibility) -> String {
        self.prompt_of("{{ question }}", visibility).await
    }

    async fn prompt_saying(&self, text: &str) -> String {
        self.prompt_of(text, Visibility::Public).await
    }

    async fn prompt_of(&self, text: &str, visibility: Visibility) -> String {
        let prompt = library::NewPrompt {
            slug: Some(fresh()),
            visibility: Some(visibility),
            ..library::NewPrompt::new("A prompt", PromptBody::Text { text: text.into() })
        };
        let mut conn = self.conn().await;
        let made = library::create_prompt(&mut conn, &self.owner, prompt.checked().unwrap()).await;
        made.unwrap().0.slug
    }

    /// A prompt whose first version has the alias `production`.
    async fn aliased(&self, visibility: Visibility) -> String {
        let prompt = self.prompt(visibility).await;
        let alias = library::SetAlias { version: 1 };
        let mut conn = self.conn().await;
        let set = library::set_alias(&mut conn, &self.owner, &prompt, "production", &alias).await;
        set.unwrap();
        prompt
    }

    /// A change that the owner proposes to a prompt of the owner's.
    async fn change_request(&self, visibility: Visibility) -> String {
        let prompt = self.prompt(visibility).await;
        let body = PromptBody::Text {
            text: "Shorter".into(),
        };
        let new = library::NewChangeRequest {
            title: "Better".into(),
            base_version: None,
            version: library::NewPromptVersion::new(body),
        };
        let mut conn = self.conn().await;
        let made =
            library::create_change_request(&mut conn, &self.owner, &prompt, new.checked().unwrap())
                .await;
        made.unwrap().id.to_string()
    }

    async fn saved_search(&self) -> String {
        let new = library::NewSavedSearch {
            name: fresh(),
            query: library::PromptQuery::default(),
        };
        let mut conn = self.conn().await;
        let saved = library::save_search(&mut conn, &self.owner, new).await;
        saved.unwrap().id.to_string()
    }

    async fn benchmark(&self, visibility: Visibility) -> String {
        let slug = fresh();
        let definition = benchmarks::Definition {
            slug: slug.clone(),
            visibility: Some(visibility),
            ..fixtures::sums(2)
        };
        let mut conn = self.conn().await;
        let checked = definition.checked().unwrap();
        let default = Visibility::default();
        let made = benchmarks::publish_benchmark(&mut conn, &self.owner, &checked, default);
        made.await.unwrap();
        slug
    }

    /// An import of two items, which have come or not.
    async fn import(&self, complete: bool) -> String {
        let sums = fixtures::sums(2);
        let new = benchmarks::NewImport {
            slug: fresh(),
            title: sums.title,
            description: sums.description,
            source: sums.source,
            visibility: sums.visibility,
            scorers: sums.scorers,
            content_hash: None,
        };
        let mut conn = self.conn().await;
        let new = new.checked().unwrap();
        let default = Visibility::default();
        let begun = benchmarks::begin_import(&mut conn, &self.owner, &new, default).await;
        let benchmarks::Begun::New(import) = begun.unwrap() else {
            panic!("nothing was announced")
        };
        if complete {
            let lines = sums.items.iter();
            let lines = lines.map(|item| serde_json::to_string(item).unwrap() + "\n");
            let lines: String = lines.collect();
            let part = benchmarks::CheckedPart::parse(lines.as_bytes(), &[], 0).unwrap();
            benchmarks::add_part(&mut conn, &self.owner, import.id, 1, &part)
                .await
                .unwrap();
        }
        import.id.to_string()
    }

    async fn run(&self, visibility: Visibility) -> String {
        let run = SubmitRun {
            benchmark: self.benchmark(Visibility::Public).await,
            prompts: vec![self.prompt(Visibility::Public).await],
            visibility: Some(visibility),
            ..fixtures::request(json!(["simulated:strong"]), 1)
        };
        let mut conn = self.conn().await;
        let run = without_rules::submit_run(&mut conn, &self.owner, &run, None).await;
        run.unwrap().id.to_string()
    }

    /// A public run, whose parts are changed afterwards by a statement that is told the owner.
    async fn run_without(&self, parts: &'static str, owner_id: i64) -> String {
        let run = self.run(Visibility::Public).await;
        let change = sqlx::query(parts).bind(owner_id).execute(self.pool).await;
        change.unwrap();
        run
    }

    /// The same, where the statement is told the new owner of the parts and the old one.
    async fn run_of_another(&self, parts: &'static str, other_id: i64) -> String {
        let run = self.run(Visibility::Public).await;
        let change = sqlx::query(parts).bind(other_id).bind(self.owner.id);
        change.execute(self.pool).await.unwrap();
        run
    }

    async fn ended_run(&self) -> String {
        let run = self.run(Visibility::Public).await;
        let end = "update runs set state = 'completed', finished_at = now() where id = $1";
        let id: Uuid = run.parse().unwrap();
        sqlx::query(end).bind(id).execute(self.pool).await.unwrap();
        run
    }

    async fn schedule(&self) -> Uuid {
        let new = schedules::NewSchedule {
            name: format!("nightly {}", Uuid::now_v7()),
            cron: "0 2 * * *".into(),
            time_zone: "UTC".into(),
            request: SubmitRun {
                benchmark: self.benchmark(Visibility::Public).await,
                prompts: vec![self.prompt(Visibility::Public).await],
                ..fixtures::request(json!(["simulated:strong"]), 1)
            },
            catch_up: schedules::CatchUp::Once,
            catch_up_limit: 1,
            jitter_seconds: 0,
        };
        let mut conn = self.conn().await;
        let made = without_rules::create_schedule(&mut conn, &self.owner, &new).await;
        made.unwrap().id
    }

    async fn alert(&self) -> String {
        let new = alerts::NewAlert {
            name: format!("drift {}", Uuid::now_v7()),
            schedule: self.schedule().await.to_string(),
            kind: alerts::AlertKind::ScoreDrop,
            threshold: 0.02,
            false_alarm_runs: 10_000,
            mail: true,
        };
        let mut conn = self.conn().await;
        let made = alerts::create_alert(&mut conn, &self.owner, &new).await;
        made.unwrap().id.to_string()
    }

    async fn webhook(&self) -> String {
        let new = webhooks::NewWebhook {
            name: format!("mine {}", Uuid::now_v7()),
            url: "https://hooks.example.org/secret".into(),
            format: webhooks::WebhookFormat::Standard,
            events: vec![webhooks::WebhookEvent::RunFinished],
        };
        let outbound = opb_core::outbound::OutboundPolicy::default();
        let mut conn = self.conn().await;
        let made =
            webhooks::create_webhook(&mut conn, &self.owner, &master_key(), &outbound, &new).await;
        made.unwrap().0.id.to_string()
    }

    async fn delivery(&self) -> String {
        let webhook = self.webhook().await.parse().unwrap();
        let mut conn = self.conn().await;
        let made = webhooks::test_webhook(&mut conn, &self.owner, webhook).await;
        made.unwrap().id.to_string()
    }

    async fn paused_schedule(&self) -> String {
        let schedule = self.schedule().await;
        let mut conn = self.conn().await;
        let paused = schedules::pause_schedule(&mut conn, &self.owner, schedule).await;
        paused.unwrap().id.to_string()
    }

    /// A comment of the owner's on a prompt of the owner's.
    async fn comment(&self, visibility: Visibility) -> String {
        let prompt = self.prompt(visibility).await;
        let new = community::NewComment {
            body: "A comment".into(),
            reply_to: None,
        };
        let mut conn = self.conn().await;
        let made = community::create_comment(&mut conn, &self.owner, &prompt, new).await;
        made.unwrap().compute().unwrap().id.to_string()
    }

    async fn collection(&self, visibility: Visibility) -> String {
        let new = community::NewCollection {
            title: "A collection".into(),
            description: String::new(),
            visibility: Some(visibility),
        };
        let mut conn = self.conn().await;
        let made = community::create_collection(&mut conn, &self.owner, new).await;
        made.unwrap().id.to_string()
    }

    /// A benchmark with a completed run of two prompts, whose answers differ.
    async fn judged_benchmark(&self) -> String {
        let benchmark = self.benchmark(Visibility::Public).await;
        let run = SubmitRun {
            benchmark: benchmark.clone(),
            prompts: vec![
                self.prompt(Visibility::Public).await,
                self.prompt_saying("{{ question }}!").await,
            ],
            ..fixtures::request(json!(["simulated:strong"]), 1)
        };
        let mut conn = self.conn().await;
        let run = without_rules::submit_run(&mut conn, &self.owner, &run, None).await;
        let answers = "with run as (
                           update runs set state = 'completed', finished_at = now() where id = $1 returning id)
                       insert into evaluations (run_id, item_position, repeat, prompt_position, model_position, state,
                           output, attempts)
                       select run.id, item, 0, prompt, 0, 'scored', 'answer ' || prompt, 1
                       from run, generate_series(0, 1) item, generate_series(0, 1) prompt";
        let answers = sqlx::query(answers).bind(run.unwrap().id);
        answers.execute(&mut *conn).await.unwrap();
        benchmark
    }

    /// A pair that the owner has drawn.
    async fn preference(&self) -> String {
        let new = community::NewPreference {
            benchmark: self.judged_benchmark().await,
            simulated: Some(true),
        };
        let mut conn = self.conn().await;
        let drawn = community::create_preference(&mut conn, &self.owner, &new).await;
        drawn.unwrap().id.to_string()
    }
}

async fn person(pool: &PgPool, password_hash: &str, role: UserRole) -> CurrentUser {
    let username = fresh();
    let insert = "insert into users (username, email, password_hash, role)
                  values ($1, $1 || '@example.org', $2, $3) returning id";
    let insert = sqlx::query_scalar(insert).bind(&username);
    let id = insert.bind(password_hash).bind(role).fetch_one(pool).await;
    CurrentUser {
        id: id.unwrap(),
        username,
        role,
    }
}

/// A name that nothing else has.
pub fn fresh() -> String {
    format!("n{}", &Uuid::new_v4().simple().to_string()[..16])
}

fn nowhere() -> Origin {
    Origin {
        address: [127, 0, 0, 1].into(),
        user_agent: None,
    }
}
