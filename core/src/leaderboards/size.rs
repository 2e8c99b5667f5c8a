//! The size of boards.
//!
//! Every line is compared with every other one on every item, in a transaction that locks the board. So the work is
//! limited: a board keeps its best lines, as many as can be compared in a few seconds. The others stay in the tables of
//! their runs and in the courses over time, and come back when there is room.

/// Maximum number of lines of a board.
pub(super) const MAX_LINES: i64 = 2_000;
/// Maximum number of score differences that are computed to rank a board.
const MAX_DIFFERENCES: i64 = 2_000_000_000;

/// Maximum number of lines of a board of a version with this many items: 2,000 up to 1,000 items, 632 for 10,000 items,
/// 200 for 100,000.
pub(super) fn max_lines(item_count: i32) -> i64 {
    let pairs = MAX_DIFFERENCES / i64::from(item_count.max(1));
    (2 * pairs).isqrt().clamp(1, MAX_LINES)
}

/// Maximum number of columns of one open run that are shown beside the board; the best ones are chosen.
pub(super) fn max_provisional(item_count: i32) -> i64 {
    (max_lines(item_count) / 2).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_items_leave_room_for_fewer_lines() {
        let expect = [
            (0, 2_000),
            (1_000, 2_000),
            (10_000, 632),
            (100_000, 200),
            (i32::MAX, 1),
        ];
        for (items, lines) in expect {
            assert_eq!(max_lines(items), lines, "{items} items");
            assert!(max_provisional(items) <= lines);
        }
    }
}
