//! The checks of the master key: the same as in `opb up`.

use std::path::Path;

use opb_core::sealed::FoundKey;
use opb_settings::SecretSettings;

use super::Check;
use crate::data_folder::DataFolder;

/// The state of the master key. `is_embedded`: the database is in the data folder.
pub(super) fn check_key(
    secrets: &SecretSettings,
    folder: &DataFolder,
    is_embedded: bool,
) -> Result<(FoundKey, Option<Check>), Check> {
    let own_file = folder.master_key_file();
    let found = secrets.load(Some(&own_file)).map_err(|error| {
        let mend = "put the right key there, or name it with --master-key-file or OPB_MASTER_KEY";
        Check::fail("master key", format!("{error:#}"), mend)
    })?;
    let Some(file) = found.missing_file() else {
        return Ok((found, None));
    };
    let missing = format!("there is none at {}", file.display());
    let parent = file.parent().filter(|_| file != own_file);
    if let Some(parent) = parent
        && let Err(error) = tempfile::tempfile_in(existing(parent))
    {
        return Err(Check::fail(
            "master key",
            format!("{missing}, and none can be created: {error}"),
            "create the folder, or name another file with --master-key-file",
        ));
    }
    let check = if is_embedded && folder.has_database() {
        Check::warn(
            "master key",
            format!("{missing}, although there is a database"),
            "put it back from where you keep a copy; without it no stored credential can be read",
        )
    } else {
        Check::ok("master key", format!("{missing} yet; `opb up` creates one"))
    };
    Ok((found, Some(check)))
}

/// A relative name without a folder is in the current folder.
fn existing(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    }
}
