//! RFC 9457 problems: what the API says when it does not do what was asked. Codes are stable.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use store::StoreError;

/// Seconds after which it is worth coming back when the database was busy or away.
const RETRY_AFTER: u64 = 5;

/// A refusal on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// Stable, for machines.
    pub code: &'static str,
    /// What is wrong, where, and what to do next.
    pub detail: String,
    /// Each problem by itself, where there are several.
    pub problems: Vec<String>,
    /// When to come back, in seconds.
    pub retry_after: Option<u64>,
}

impl Problem {
    /// A problem with one sentence.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Problem {
        Problem { status, code, detail: detail.into(), problems: Vec::new(), retry_after: None }
    }

    /// 422: well written, but it makes no sense.
    pub fn unprocessable(code: &'static str, detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    /// 400: not even well written.
    pub fn bad(code: &'static str, detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 404.
    pub fn not_found(what: &str, name: &str) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not-found", format!("there is no {what} {}", pki::text::escape(name)))
    }

    /// 413, with the limit that was passed.
    pub fn too_large(limit: usize) -> Problem {
        let detail = format!("the body is larger than {limit} bytes, the limit of this request; nothing of it was used");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
    }

    /// 401; the same whatever was wrong.
    pub fn unauthenticated() -> Problem {
        let detail = "this needs a token that is known, not expired and not taken back: `Authorization: Bearer prn_…`";
        Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
    }

    /// 429.
    pub fn too_often(detail: impl Into<String>, seconds: u64) -> Problem {
        Problem { retry_after: Some(seconds), ..Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-attempts", detail) }
    }

    /// 503 because of us, not of the database.
    pub fn busy(detail: impl Into<String>) -> Problem {
        Problem { retry_after: Some(1), ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail) }
    }

    /// 500; what happened is for the log, not for strangers.
    pub fn internal(what: &dyn std::fmt::Display) -> Problem {
        tracing::error!(error = %what, "a request failed");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the server failed; its log says why")
    }

    /// As it travels.
    pub fn body(&self) -> api::v1::Problem {
        api::v1::Problem {
            kind: String::from("about:blank"),
            title: title(self.code),
            status: self.status.as_u16(),
            code: self.code.to_owned(),
            detail: self.detail.clone(),
            problems: self.problems.clone(),
        }
    }
}

/// `change-not-accepted` → `Change not accepted`.
fn title(code: &str) -> String {
    let text = code.replace('-', " ");
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + chars.as_str())
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let text = serde_json::to_vec(&self.body()).unwrap_or_default();
        let mut response = (self.status, text).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        match self.status {
            // RFC 9110 §11.6.1: a 401 says how to authenticate.
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            // What is left of the body is not read: the connection ends here.
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}

impl From<engine::Error> for Problem {
    fn from(error: engine::Error) -> Problem {
        match error {
            engine::Error::Store(e) => e.into(),
            engine::Error::Refused(refusal) => refused(refusal),
            engine::Error::Sealed => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "sealed", error.to_string()),
            engine::Error::NotFound { .. } => Problem::new(StatusCode::NOT_FOUND, "not-found", error.to_string()),
            engine::Error::Outside(what) => Problem::new(StatusCode::BAD_GATEWAY, "outside", pki::text::escape(&what)),
        }
    }
}

fn refused(refusal: engine::Refusal) -> Problem {
    let status = match refusal.code {
        // What is stored stands against it: look, and ask again differently.
        "already-initialised"
        | "not-initialised"
        | "changed-meanwhile"
        | "change-not-accepted"
        | "incident-not-open"
        | "incident-open"
        | "open-incident"
        | "targets-remain"
        | "kind-changed"
        | "wrong-kind"
        | "plan-changed"
        | "release-exists"
        | "release-ended"
        | "release-cancelled"
        | "release-built"
        | "release-deployed"
        | "release-deploying"
        | "release-not-built"
        | "not-in-train"
        | "train-is-full"
        | "train-ends"
        | "node-joined"
        | "other-generation"
        | "not-born"
        | "clock-behind"
        | "rotation-open"
        | "no-rotation"
        | "agents-wait"
        | "locked-kek"
        | "rollout-ended"
        | "not-halted"
        | "nothing-to-take-back"
        | "no-version-before"
        | "newer-under-way"
        | "newer-is-shown"
        | "nothing-in-the-way"
        | "nobody-carries"
        | "revocation-ended"
        | "no-targets"
        | "version-revoked"
        | "version-too-old"
        | "drill-over"
        | "drill-running"
        | "drill-refused"
        | "request-waits"
        | "no-request"
        | "root-exists"
        | "nothing-waits"
        | "nothing-to-do"
        // So many wait at most: only what is done with one of them makes room, and no time does.
        | "too-many-requests" => StatusCode::CONFLICT,
        "busy" => return Problem::busy(refusal.problems.join("; ")),
        "cannot-open" => StatusCode::FORBIDDEN,
        // Agents: whoever they are not, and what their node is not to have.
        "unknown-agent" | "bad-token" => StatusCode::UNAUTHORIZED,
        "agent-revoked" | "agent-superseded" | "agent-cloned" | "agent-expired" | "agent-too-old" | "other-epoch" | "node-retired"
        | "not-to-have" | "keys-in-store" | "key-changed" => StatusCode::FORBIDDEN,
        "too-large" => StatusCode::PAYLOAD_TOO_LARGE,
        "too-many-keys" => StatusCode::TOO_MANY_REQUESTS,
        "damaged" => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let detail = refusal.problems.join("; ");
    let problems = if refusal.problems.len() > 1 { refusal.problems } else { Vec::new() };
    Problem { problems, ..Problem::new(status, refusal.code, detail) }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        let text = error.to_string();
        match error {
            StoreError::Unavailable { .. } | StoreError::Contended { .. } => {
                Problem { retry_after: Some(RETRY_AFTER), ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, "store-unavailable", text) }
            }
            StoreError::OutcomeUnknown { .. } => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "outcome-unknown", text),
            StoreError::Conflict { .. } => {
                tracing::warn!(error = %text, "a rule of the schema stands against a request");
                Problem::new(StatusCode::CONFLICT, "conflict", "somebody else changed the same thing; look at it and try again")
            }
            StoreError::Disk { full, .. } => {
                Problem::new(StatusCode::INSUFFICIENT_STORAGE, if full { "disk-full" } else { "disk-failed" }, text)
            }
            StoreError::Newer { .. } | StoreError::Corrupt { .. } => {
                tracing::error!(error = %text, "the database cannot be used");
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "store-damaged", text)
            }
            // SQL and the like: nothing for strangers.
            StoreError::Other { .. } => Problem::internal(&text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::Error;

    #[test]
    fn every_failure_has_its_status_and_code() {
        let store = |e: StoreError| Problem::from(Error::Store(e));
        let what = || String::from("x");
        let cases: Vec<(Problem, u16, &str, Option<u64>)> = vec![
            (store(StoreError::Unavailable { what: what() }), 503, "store-unavailable", Some(5)),
            (store(StoreError::Contended { what: what(), waited: true }), 503, "store-unavailable", Some(5)),
            (store(StoreError::OutcomeUnknown { what: what() }), 500, "outcome-unknown", None),
            (store(StoreError::Conflict { kind: store::Rule::Unique, constraint: what() }), 409, "conflict", None),
            (store(StoreError::Disk { full: true, what: what() }), 507, "disk-full", None),
            (store(StoreError::Disk { full: false, what: what() }), 507, "disk-failed", None),
            (store(StoreError::Corrupt { what: what() }), 500, "store-damaged", None),
            (store(StoreError::other("SELECT secret")), 500, "internal", None),
            (Error::Sealed.into(), 503, "sealed", None),
            (Error::not_found("target", "a").into(), 404, "not-found", None),
            (Error::Outside(what()).into(), 502, "outside", None),
            (Error::refused("change-not-accepted", "x").into(), 409, "change-not-accepted", None),
            (Error::refused("bad-certificate", "x").into(), 422, "bad-certificate", None),
            (Error::refused("drill-running", "x").into(), 409, "drill-running", None),
            (Error::refused("version-revoked", "x").into(), 409, "version-revoked", None),
            (Error::refused("busy", "x").into(), 503, "busy", Some(1)),
            (Error::refused("cannot-open", "x").into(), 403, "cannot-open", None),
        ];
        for (problem, status, code, retry) in cases {
            assert_eq!((problem.status.as_u16(), problem.code, problem.retry_after), (status, code, retry));
            assert!(!problem.detail.contains("SELECT"), "{}", problem.detail);
        }
    }

    #[test]
    fn titles_are_the_codes_in_words() {
        assert_eq!(title("change-not-accepted"), "Change not accepted");
        assert_eq!(title(""), "");
    }
}
