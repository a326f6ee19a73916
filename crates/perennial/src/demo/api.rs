//! The demo speaks to its store as everybody does: over the API, with a token.

use outbound::{Client, Method, Request, header};
use serde::{Serialize, de::DeserializeOwned};

/// Most bytes of an answer.
const MOST: usize = 16 << 20;

/// A connection with a token.
pub(crate) struct Api {
    client: Client,
    base: String,
    token: String,
}

impl Api {
    /// To the server at `base`, trusted by `ca`.
    pub(crate) fn new(base: &str, ca: &std::path::Path, token: &str) -> Result<Api, String> {
        let pem = std::fs::read(ca).map_err(|e| format!("{}: {e}", ca.display()))?;
        let roots = outbound::roots_from_pem(&pem).map_err(|e| e.to_string())?;
        let client = Client::for_server(base, roots, MOST).map_err(|e| e.to_string())?;
        Ok(Api { client, base: base.into(), token: token.into() })
    }

    /// What is at `path`.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        self.call(Request::new(Method::GET, format!("{}{path}", self.base))).await
    }

    /// Sends `body` to `path`.
    pub(crate) async fn post<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, String> {
        let json = serde_json::to_vec(body).map_err(|e| e.to_string())?;
        self.call(Request::new(Method::POST, format!("{}{path}", self.base)).with_body("application/json", json)).await
    }

    async fn call<T: DeserializeOwned>(&self, mut request: Request) -> Result<T, String> {
        let mut value = header::HeaderValue::from_str(&format!("Bearer {}", self.token)).map_err(|e| e.to_string())?;
        value.set_sensitive(true);
        request.headers.insert(header::AUTHORIZATION, value);
        let url = request.url.clone();
        let response = self.client.send(request).await.map_err(|e| e.to_string())?;
        if !response.status.is_success() {
            return Err(format!("{url} answers {}: {}", response.status, String::from_utf8_lossy(&response.body)));
        }
        serde_json::from_slice(&response.body).map_err(|e| format!("{url}: {e}"))
    }
}
