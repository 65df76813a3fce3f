//! Lists in pieces: a page, and a cursor that says where the next one begins.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

/// How many items a page holds where nobody says.
pub const USUAL_LIMIT: u32 = 100;

/// How many items a page holds at most.
pub const MOST_LIMIT: u32 = 1000;

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Page<T> {
    /// What it holds, in order.
    pub items: Vec<T>,
    /// What to give as `cursor` for the items that follow; null where these are the last.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// The page of `items`, of which one more than `limit` was looked for, so as to know whether any follow. `cursor`
    /// says where an item stands.
    pub fn of(mut items: Vec<T>, limit: Limit, cursor: impl Fn(&T) -> Cursor) -> Self {
        let has_more = items.len() > limit.items();
        items.truncate(limit.items());
        let next = items.last().filter(|_| has_more).map(|last| cursor(last).to_string());
        Self { items, next }
    }

    /// The same page with every item made into another.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(change).collect(), next: self.next }
    }
}

/// How many items a page may hold, 1 to [`MOST_LIMIT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(u32);

impl Limit {
    /// As many as a page can hold.
    pub const MOST: Self = Self(MOST_LIMIT);

    /// How many.
    pub fn items(self) -> usize {
        self.0 as usize
    }

    /// How many rows to look for: one more, which says whether another page follows.
    pub fn rows(self) -> i64 {
        i64::from(self.0) + 1
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(USUAL_LIMIT)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = |found| serde::de::Error::custom(format!("{found} is no limit from 1 to {MOST_LIMIT}"));
        let found = u64::deserialize(deserializer)?;
        let limit = u32::try_from(found).ok().filter(|limit| (1..=MOST_LIMIT).contains(limit));
        limit.map(Self).ok_or_else(|| wrong(found))
    }
}

/// Where an item stands in a list that is ordered by time and, within a time, by id. Callers take it as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// The time, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The id.
    pub id: String,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.at_ms, self.id)
    }
}

impl FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('_').and_then(|(at, id)| Some((at.parse().ok()?, id)));
        match parts.and_then(|(at_ms, name)| Some((at_ms, id(name)?))) {
            Some((at_ms, id)) => Ok(Self { at_ms, id: id.into() }),
            None => Err(format!("`{text}` is no cursor; give the `next` of an earlier page")),
        }
    }
}

/// `text`, where it can be the id of something: databases don't take every text.
pub fn id(text: &str) -> Option<&str> {
    let is_id = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    is_id.then_some(text)
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(id: &str) -> Cursor {
        Cursor { at_ms: 5, id: id.into() }
    }

    #[test]
    fn a_page_names_its_successor_only_where_there_is_one() {
        let check = |found: &[&'static str], items: &[&str], next: Option<&str>| {
            let page = Page::of(found.to_vec(), Limit(2), |id| cursor(id));
            assert_eq!((page.items.as_slice(), page.next.as_deref()), (items, next));
        };
        check(&[], &[], None);
        check(&["a", "b"], &["a", "b"], None);
        check(&["a", "b", "c"], &["a", "b"], Some("5_b"));
    }

    #[test]
    fn a_cursor_comes_back_as_it_was_and_others_are_refused() {
        for good in [cursor("0199-ab"), Cursor { at_ms: -7, id: "x".into() }] {
            assert_eq!(good.to_string().parse(), Ok(good));
        }
        for bad in ["", "_", "5", "5_", "x_y", "5_a b", "5_é", "99999999999999999999_a", "5_a\0"] {
            assert!(bad.parse::<Cursor>().unwrap_err().contains("is no cursor"), "{bad}");
        }
    }

    #[test]
    fn limits_have_bounds() {
        let limit = |json: &str| serde_json::from_str::<Limit>(json).map(Limit::items).ok();
        assert_eq!([limit("1"), limit("1000"), limit("0"), limit("1001")], [Some(1), Some(1000), None, None]);
        assert_eq!([limit("-1"), limit("1.5"), limit("99999999999")], [None, None, None]);
    }
}
