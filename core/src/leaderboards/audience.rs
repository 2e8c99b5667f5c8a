//! Audiences: each board is made from the runs of one audience, and only visible to it.
//!
//! The public board of a benchmark version is made from the runs that everybody may read; a user's own board from all
//! of their runs, whatever their visibility. Each board is ranked separately: nothing of one is computed from another.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{Error, Result, auth::CurrentUser};

/// A kind of board: the public one, or that of the caller's own runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BoardKind {
    /// The public board, of runs that everybody may read.
    Public,
    /// The board of the caller's own runs, whatever their visibility.
    Own,
}

/// The readers for whom a board is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    /// Runs that everybody may read.
    Public,
    /// All runs of this user.
    Own(i64),
}

impl Audience {
    /// The stored form: null for the public board.
    pub(super) fn id(self) -> Option<i64> {
        match self {
            Self::Public => None,
            Self::Own(user_id) => Some(user_id),
        }
    }

    pub(super) fn of(id: Option<i64>) -> Self {
        id.map_or(Self::Public, Self::Own)
    }

    pub(super) fn kind(self) -> BoardKind {
        match self {
            Self::Public => BoardKind::Public,
            Self::Own(_) => BoardKind::Own,
        }
    }

    /// The audience that the caller requests. By default it is the caller, if the caller has results on the board
    /// (without a benchmark version, on any board), else the public.
    pub(super) async fn choose(
        conn: &mut PgConnection,
        viewer: Option<&CurrentUser>,
        wanted: Option<BoardKind>,
        benchmark_version_id: Option<Uuid>,
    ) -> Result<Self> {
        match (wanted, viewer) {
            (Some(BoardKind::Public), _) | (None, None) => Ok(Self::Public),
            (Some(BoardKind::Own), Some(viewer)) => Ok(Self::Own(viewer.id)),
            (Some(BoardKind::Own), None) => Err(Error::invalid(
                "board",
                "`own` shows the runs of the caller, and needs a login; say `public`, or log in",
            )),
            (None, Some(viewer)) => {
                let has_results = has_results(conn, viewer.id, benchmark_version_id).await?;
                Ok(if has_results {
                    Self::Own(viewer.id)
                } else {
                    Self::Public
                })
            }
        }
    }
}

async fn has_results(
    conn: &mut PgConnection,
    user_id: i64,
    benchmark_version_id: Option<Uuid>,
) -> Result<bool> {
    let has_results = sqlx::query_scalar!(
        r#"-- audience::has_results
        select exists (select from standings
                       where audience_id = $1 and ($2::uuid is null or benchmark_version_id = $2))
            or exists (select from provisional_standings
                       join runs on runs.id = run_id
                       where owner_id = $1 and finished_at is null
                         and provisional_standings.benchmark_version_id = $2) as "has_results!""#,
        user_id,
        benchmark_version_id
    )
    .fetch_one(conn)
    .await?;
    Ok(has_results)
}
