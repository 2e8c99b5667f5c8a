//! Community features of the library: votes, rankings, blind preferences, favourites, comments, collections, profiles.
//!
//! A user who may not read a prompt may not learn, write or change anything about it here either.

mod badges;
mod collections;
mod comments;
mod evidence;
mod favourites;
mod moderation;
mod preference_board;
mod preferences;
mod profiles;
mod ranks;
mod text;
mod votes;

pub use badges::{Badge, BadgeKind};
pub use collections::{
    Collection, CollectionChange, NewCollection, create_collection, delete_collection,
    find_collection, list_collection_prompts, list_collections, set_collection_prompts,
    update_collection,
};
pub use comments::{
    Comment, NewComment, create_comment, delete_comment, list_comments, list_replies,
    update_comment,
};
pub use evidence::{Evidence, EvidenceFilter, list_evidence};
pub use favourites::{delete_favourite, list_favourites, set_favourite};
pub use moderation::{
    Moderation, NewReport, ReportReason, ReportedComment, list_reported_comments, moderate_comment,
    report_comment,
};
pub use preference_board::{PreferenceBoard, PreferenceEntry, read_preference_board};
pub use preferences::{
    BlindPair, NewPreference, Preference, PreferenceChoice, create_preference, set_preference,
};
pub use profiles::{
    Avatar, Contributions, Profile, ProfileSettings, find_profile, find_profile_settings,
    update_profile_settings,
};
pub use ranks::{MeasuredQuality, RankOrder, RankedPrompt, list_ranked_prompts};
pub use votes::{Vote, VoteCount, delete_vote, find_votes, set_vote};
