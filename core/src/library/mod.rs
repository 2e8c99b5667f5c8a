//! The prompt library: prompts with immutable, numbered versions, and the operations on them.
//!
//! Private prompts of other users and deleted prompts are reported as not found.

mod aliases;
mod categories;
mod change_requests;
mod diff;
mod discussion;
mod erase;
mod export;
mod fields;
mod forks;
mod import;
mod lint;
mod markdown;
mod preview;
mod prompt_changes;
mod prompts;
mod saved_searches;
mod search;
mod suggestions;
mod variables;
mod versions;
mod withdraw;

pub use aliases::{
    Alias, AliasChange, SetAlias, list_alias_changes, list_aliases, remove_alias, set_alias,
};
pub use categories::{
    Category, NewCategory, Tag, delete_category, list_categories, list_tags, save_category,
};
pub use change_requests::{
    ChangeRequest, ChangeRequestState, CheckedChangeRequest, Decision, NewChangeRequest,
    accept_change_request, create_change_request, decline_change_request, find_change_request,
    list_change_requests, withdraw_change_request,
};
pub use diff::{Change, DiffLine, Hunk, Sides, VersionDiff, find_sides};
pub use discussion::{
    ChangeRequestComment, NewChangeRequestComment, add_change_request_comment,
    list_change_request_comments,
};
pub(crate) use erase::erase_private_prompts;
pub use export::export_prompts;
pub(crate) use fields::check_slug;
pub use forks::{NewFork, fork_prompt, list_forks};
pub use import::{
    FrontMatter, ImportOptions, ImportOutcome, ImportReport, ImportSource, ImportedRow, ParsedRow,
    PortablePrompt, PromptFile, SourceRow, import_prompts, is_prompt_file, parse_source,
    read_prompt_files, read_source, to_files,
};
pub use lint::{Warning, WarningCode, lint};
pub use markdown::to_html;
pub use preview::{Preview, PreviewRequest, preview};
pub use prompt_changes::{
    PromptChange, Transfer, accept_transfer, change_prompt, delete_prompt, offer_transfer,
    withdraw_transfer,
};
pub use prompts::{
    CheckedPrompt, NewPrompt, Prompt, PromptDetail, PromptKind, create_prompt, ensure_prompt,
    find_newest, find_prompt,
};
pub use saved_searches::{
    NewSavedSearch, SavedSearch, delete_saved_search, list_saved_searches, save_search,
};
pub use search::{
    Estimates, FoundPrompt, Fragment, PromptPage, PromptQuery, PromptSort, list_prompts,
};
pub use suggestions::{Suggestion, suggest_prompts};
pub use variables::{Parameters, Variable, VariableType, defaults};
pub use versions::{
    CheckedVersion, NewPromptVersion, PromptVersion, SavedVersion, add_version, list_versions,
    resolve_version,
};
pub use withdraw::delete_prompt_version;
pub(crate) use withdraw::erase_withdrawn;
