//! Where a problem that the server names by path stands in the file that the person wrote.

use toml::de::{DeTable, DeValue};

/// `line:column` of a path such as `target[3].secret` in a TOML text, both from 1; the nearest thing around it where it is absent.
/// None if `path` is no path, or the text is no TOML.
pub(super) fn position(text: &str, path: &str) -> Option<(usize, usize)> {
    let root = DeTable::parse(text).ok()?;
    let mut offset = 0;
    let mut here: Option<&DeValue<'_>> = None;
    for (depth, part) in path.split('.').enumerate() {
        let (key, indexes) = match part.find('[') {
            Some(at) => part.split_at(at),
            None => (part, ""),
        };
        let table = if depth == 0 { Some(root.get_ref()) } else { here.and_then(DeValue::as_table) };
        let Some(value) = table.and_then(|table| table.get(key)) else {
            // The first key must be there, or this was no path but a sentence.
            return if depth == 0 { None } else { Some(line_and_column(text, offset)) };
        };
        offset = value.span().start;
        here = Some(value.get_ref());
        for index in indexes.split_terminator(']') {
            let index: usize = index.strip_prefix('[')?.parse().ok()?;
            let Some(item) = here.and_then(DeValue::as_array).and_then(|list| list.get(index)) else {
                return Some(line_and_column(text, offset));
            };
            offset = item.span().start;
            here = Some(item.get_ref());
        }
    }
    Some(line_and_column(text, offset))
}

fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_lines() {
        let text = "[fleet]\ndefault_owner = \"ü\"\n\n[[target]]\nname = \"a\"\n\n[[target]]\nname = \"b\"\nvantages = [\"x\", \"y\"]\n";
        let check = |path: &str, expected| assert_eq!(position(text, path), expected, "{path}");
        check("fleet.default_owner", Some((2, 17)));
        check("target[1].name", Some((8, 8)));
        check("target[1].vantages[1]", Some((9, 18)));
        check("target[1].secret", Some((7, 1)));
        check("target[7].secret", Some((4, 1)));
        check("secret[0]", None);
        check("there is no team x", None);
        check("target[x]", None);
        assert_eq!(position("= broken", "target[0]"), None);
    }
}
