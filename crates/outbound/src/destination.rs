//! Where a URL leads.

use http::Uri;
use http::uri::PathAndQuery;

use crate::error::Error;
use crate::policy::with_port;

/// The longest URL, in bytes.
const MAX_URL_BYTES: usize = 8 * 1024;

/// The parts of a URL that a request needs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    pub(crate) https: bool,
    /// Lower case, without brackets and without a final dot.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) path: String,
}

impl Destination {
    pub(crate) fn parse(url: &str) -> Result<Self, Error> {
        // The URL is not repeated: its path or its user part may be a secret.
        let wrong = |what: &str| Err(Error::local(format!("the URL {what}")));
        if url.len() > MAX_URL_BYTES {
            return wrong(&format!("is longer than {MAX_URL_BYTES} bytes"));
        }
        let Ok(uri) = url.parse::<Uri>() else {
            return wrong("cannot be read; it looks like https://host[:port]/path");
        };
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return wrong("does not begin with https://; it looks like https://host[:port]/path"),
        };
        let Some(authority) = uri.authority() else {
            return wrong("names no host");
        };
        if authority.as_str().contains('@') {
            return wrong("carries a user or password before the host; put credentials where they are kept secret");
        }
        // `Authority::port` takes a port that does not fit for none, which would lead somewhere else.
        let after_host = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
        let port = match after_host.strip_prefix(':').map(str::parse::<u16>) {
            None => {
                if https {
                    443
                } else {
                    80
                }
            }
            Some(Ok(port)) if port != 0 => port,
            Some(_) => return wrong("has a port that is not between 1 and 65535"),
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
        if host.is_empty() {
            return wrong("names no host");
        }
        let path = uri.path_and_query().map_or("/", PathAndQuery::as_str).to_owned();
        Ok(Destination { https, host: host.to_ascii_lowercase(), port, path })
    }

    /// `host:port`, for messages and comparisons.
    pub(crate) fn name(&self) -> String {
        with_port(&self.host, self.port)
    }

    /// The value of the Host header (RFC 9110 §7.2): the port only where it is not the scheme's own.
    pub(crate) fn host_header(&self) -> String {
        let default = if self.https { 443 } else { 80 };
        match (self.port == default, self.host.contains(':')) {
            (false, _) => self.name(),
            (true, true) => format!("[{}]", self.host),
            (true, false) => self.host.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn urls() {
        let ok = |url: &str, https, name: &str, header: &str, path: &str| {
            let found = Destination::parse(url).unwrap();
            assert_eq!((found.https, &*found.name(), &*found.host_header(), &*found.path), (https, name, header, path), "{url}");
        };
        ok("https://Example.COM", true, "example.com:443", "example.com", "/");
        ok("https://example.com./a?b=c", true, "example.com:443", "example.com", "/a?b=c");
        ok("http://example.com:8080/", false, "example.com:8080", "example.com:8080", "/");
        ok("https://example.com:443/x", true, "example.com:443", "example.com", "/x");
        ok("https://[::1]/x", true, "[::1]:443", "[::1]", "/x");
        ok("https://[::1]:9/x", true, "[::1]:9", "[::1]:9", "/x");

        for (url, says) in [
            ("", "cannot be read"),
            ("/path", "https://"),
            ("example.com", "https://"),
            ("ftp://example.com/", "https://"),
            ("file:///etc/passwd", "https://"),
            ("https://user:pw@example.com/", "user or password"),
            ("https://example.com:0/", "port"),
            ("https://example.com:99999/", "port"),
            ("https://exa mple.com/", "cannot be read"),
            ("https://example.com/\r\nX: y", "cannot be read"),
            ("https:///x", "cannot be read"),
        ] {
            let error = Destination::parse(url).unwrap_err();
            assert!(error.detail.contains(says), "{url}: {error}");
        }
        let long = format!("https://example.com/{}", "x".repeat(MAX_URL_BYTES));
        assert!(Destination::parse(&long).unwrap_err().detail.contains("longer"));
    }
}
