//! The handlers, by noun, with the bodies that only the HTTP door knows.
//! A handler is called `<verb>_<resource>`, and that is its operation id.

pub(crate) mod aliases;
pub mod api_keys;
pub(crate) mod audit;
pub mod auth;
pub mod benchmarks;
pub(crate) mod categories;
pub(crate) mod change_requests;
pub mod collections;
pub mod comments;
pub(crate) mod comparisons;
pub(crate) mod contributions;
pub(crate) mod control;
pub mod cookie;
pub(crate) mod events;
pub(crate) mod evidence;
pub(crate) mod exchange;
pub(crate) mod favourites;
pub mod identities;
pub mod invitations;
pub(crate) mod leaderboards;
pub mod me;
pub mod models;
pub mod operations;
pub mod preferences;
pub(crate) mod prices;
pub(crate) mod profiles;
pub(crate) mod prompts;
pub(crate) mod ranks;
pub mod recovery;
pub mod runs;
pub(crate) mod saved_searches;
pub(crate) mod schedules;
pub mod users;
pub(crate) mod versions;
pub mod votes;
