//! The way to a resource: segments and questions, escaped, so that no name can lead anywhere else.

use std::fmt::Write as _;

/// A path with its query, such as `/v1/secrets/web?limit=3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route(String);

impl Route {
    /// `/v1` and these segments.
    pub fn to(segments: &[&str]) -> Route {
        let mut path = String::from("/v1");
        for segment in segments {
            path.push('/');
            // Two names that RFC 3986 §5.2.4 takes for steps in a path.
            match *segment {
                "." => path.push_str("%2E"),
                ".." => path.push_str("%2E%2E"),
                other => push_escaped(&mut path, other),
            }
        }
        Route(path)
    }

    /// The same with a question.
    #[must_use]
    pub fn ask(mut self, name: &str, value: &str) -> Route {
        self.0.push(if self.0.contains('?') { '&' } else { '?' });
        push_escaped(&mut self.0, name);
        self.0.push('=');
        push_escaped(&mut self.0, value);
        self
    }

    /// The same with a question, if there is a value.
    #[must_use]
    pub fn ask_if(self, name: &str, value: Option<&str>) -> Route {
        match value {
            Some(value) => self.ask(name, value),
            None => self,
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Everything but the unreserved characters of RFC 3986 §2.3 is escaped.
fn push_escaped(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_elsewhere() {
        let check = |segments: &[&str], expected: &str| assert_eq!(Route::to(segments).as_str(), expected);
        check(&["status"], "/v1/status");
        check(&["secrets", "*.blob@eu:1+x"], "/v1/secrets/%2A.blob%40eu%3A1%2Bx");
        check(&["secrets", "../tokens"], "/v1/secrets/..%2Ftokens");
        check(&["secrets", "..", "x"], "/v1/secrets/%2E%2E/x");
        check(&["secrets", "."], "/v1/secrets/%2E");
        check(&["secrets", "a?b#c"], "/v1/secrets/a%3Fb%23c");
        check(&["secrets", "ü \r\n"], "/v1/secrets/%C3%BC%20%0D%0A");
    }

    #[test]
    fn questions() {
        let route = Route::to(&["secrets"]).ask("team", "a&b=c").ask_if("after", None).ask_if("limit", Some("5"));
        assert_eq!(route.as_str(), "/v1/secrets?team=a%26b%3Dc&limit=5");
    }
}
