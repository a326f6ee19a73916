//! Pages of lists. A cursor is opaque to callers, and checked when it comes back.

use api::v1::Page;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    limits::{MOST_PER_PAGE, PAGE},
    problem::Problem,
};

/// Longest cursor that is looked at.
const CURSOR_BYTES: usize = 1024;

/// The last place of a list: two numbers, and a text where the list needs one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cursor(pub(crate) i64, pub(crate) i64, pub(crate) String);

impl Cursor {
    fn write(&self, list: &str) -> String {
        URL_SAFE_NO_PAD.encode(format!("1 {list} {} {} {}", self.0, self.1, self.2))
    }

    fn read(list: &str, text: &str) -> Option<Cursor> {
        if text.len() > CURSOR_BYTES {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let mut parts = std::str::from_utf8(&bytes).ok()?.splitn(5, ' ');
        let fits = parts.next()? == "1" && parts.next()? == list;
        let cursor = Cursor(parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.to_owned());
        (fits && !cursor.2.contains('\0')).then_some(cursor)
    }
}

/// Where a page begins and how long it is, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Paging {
    list: &'static str,
    /// Where the page before ended.
    pub(crate) after: Option<Cursor>,
    /// How many items.
    pub(crate) limit: i64,
}

impl Paging {
    /// From the query. `list` keeps the cursor of one list from being shown to another.
    pub(crate) fn new(list: &'static str, after: Option<&str>, limit: Option<i64>) -> Result<Paging, Problem> {
        Paging::within(list, after, limit, MOST_PER_PAGE)
    }

    /// The same of a list whose pages may be longer or must be shorter than others.
    pub(crate) fn within(list: &'static str, after: Option<&str>, limit: Option<i64>, most: i64) -> Result<Paging, Problem> {
        let limit = limit.unwrap_or(PAGE);
        if !(1..=most).contains(&limit) {
            return Err(Problem::bad("bad-query", format!("limit is {limit}; it can be 1 to {most}")));
        }
        let after = match after.filter(|a| !a.is_empty()) {
            None => None,
            Some(text) => Some(Cursor::read(list, text).ok_or_else(|| {
                Problem::bad("bad-cursor", "`after` is not what a page of this list gave as `next`; begin again without it")
            })?),
        };
        Ok(Paging { list, after, limit })
    }

    /// Pages of a list that gives fewer items at once; what is behind them is on the next page.
    pub(crate) fn at_most(self, limit: i64) -> Paging {
        Paging { limit: self.limit.min(limit), ..self }
    }

    /// The two numbers of the cursor.
    pub(crate) fn pair(&self) -> Option<(i64, i64)> {
        self.after.as_ref().map(|c| (c.0, c.1))
    }

    /// The first number of the cursor.
    pub(crate) fn first(&self) -> Option<i64> {
        self.after.as_ref().map(|c| c.0)
    }

    /// What the next page begins behind.
    pub(crate) fn next(&self, place: &Cursor) -> String {
        place.write(self.list)
    }

    /// A page of rows; a full one has a next one, which may turn out to be empty.
    pub(crate) fn page<R, T>(
        &self,
        rows: &[R],
        place: impl Fn(&R) -> Cursor,
        mut item: impl FnMut(&R) -> Result<T, Problem>,
    ) -> Result<Page<T>, Problem> {
        let full = i64::try_from(rows.len()).is_ok_and(|n| n >= self.limit);
        let next = rows.last().filter(|_| full).map(|last| place(last).write(self.list));
        Ok(Page { items: rows.iter().map(&mut item).collect::<Result<_, _>>()?, next })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_cursor_comes_back_and_fits_its_list_alone() {
        for cursor in [Cursor(1, -2, String::new()), Cursor(i64::MIN, i64::MAX, "leaf-expiring/a b".into())] {
            let text = cursor.write("secrets");
            assert_eq!(Cursor::read("secrets", &text), Some(cursor));
            assert_eq!(Cursor::read("targets", &text), None);
        }
        for text in ["", "!", "MSBzZWNyZXRz", "AAAA", &"A".repeat(CURSOR_BYTES + 1), &URL_SAFE_NO_PAD.encode("2 secrets 1 2 ")] {
            assert_eq!(Cursor::read("secrets", text), None, "{text}");
        }
    }

    #[test]
    fn limits_of_a_page() {
        for (limit, good) in [(None, true), (Some(1), true), (Some(1000), true), (Some(0), false), (Some(1001), false), (Some(-1), false)] {
            assert_eq!(Paging::new("x", None, limit).is_ok(), good, "{limit:?}");
        }
        assert!(Paging::new("x", Some("nonsense"), None).is_err());
    }

    #[test]
    fn only_a_full_page_has_a_next_one() {
        let paging = Paging::new("x", None, Some(2)).unwrap();
        let page = |rows: &[i64]| paging.page(rows, |r| Cursor(*r, 0, String::new()), |r| Ok(*r)).unwrap();
        assert_eq!(page(&[1]).next, None);
        let next = page(&[1, 2]).next.unwrap();
        assert_eq!(Paging::new("x", Some(&next), None).unwrap().first(), Some(2));
    }
}
