//! Picks things without a name: by id, by the end of the id, or `last` for the newest.

use uuid::Uuid;

use crate::outcome::BadUsage;

/// Minimum length of the end of an id, in characters.
const MIN_END: usize = 4;

/// Picks an id from `ids`; errors call the thing `what`, and name the command `list` that lists them.
///
/// # Errors
/// [`BadUsage`] if none matches, or more than one.
pub fn pick(ids: &[Uuid], meant: &str, what: &str, list: &str) -> Result<Uuid, BadUsage> {
    if let Ok(id) = meant.parse() {
        return Ok(id);
    }
    // Ids are UUID v7, so they sort by time.
    if meant == "last" {
        let none = || BadUsage(format!("there is no {what} yet; {list} lists them"));
        return ids.iter().max().copied().ok_or_else(none);
    }
    let end = meant.to_lowercase();
    let is_meant = |id: &&Uuid| end.len() >= MIN_END && id.to_string().ends_with(&end);
    let found: Vec<&Uuid> = ids.iter().filter(is_meant).collect();
    match found.as_slice() {
        [id] => Ok(**id),
        [] => Err(BadUsage(format!(
            "there is no {what} `{meant}`: give its id, the last {MIN_END} or more characters of its id, or `last`; {list} lists them"
        ))),
        _ => Err(BadUsage(format!(
            "several ids of a {what} end in `{meant}`: give more characters; {list} lists them"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_named_by_its_id_its_end_or_as_the_last() {
        let ids = [0x1_0000_abcd, 0x2_1111_abcd, 0x3_0000_ef01].map(Uuid::from_u128);
        let pick = |meant: &str| pick(&ids, meant, "message", "`opb webhook show`");
        assert_eq!(pick(&ids[1].to_string()).unwrap(), ids[1]);
        assert_eq!(pick("last").unwrap(), ids[2]);
        assert_eq!(pick("EF01").unwrap(), ids[2]);
        assert_eq!(pick("1111abcd").unwrap(), ids[1]);
        for wrong in ["abcd", "f01", "", "newest", "é"] {
            assert!(pick(wrong).is_err(), "{wrong}");
        }
        assert!(super::pick(&[], "last", "message", "x").is_err());
    }
}
