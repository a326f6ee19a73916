//! Why the agent did not do what it was to do.

use std::{io, path::Path};

use crate::{files, seal::SealError};

/// Differs by what whoever runs the agent does next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk.
    #[error("{0}")]
    Disk(io::Error),
    /// Keys at rest.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A key.
    #[error("a key cannot be used: {0}")]
    Key(String),
    /// Another agent works in this folder.
    #[error("another agent holds {0}; one folder is one agent, so stop the other or name another state folder")]
    Held(String),
    /// Nobody joined yet.
    #[error(
        "this node has not joined a store; run `perennial-agent join` with the string that `perennial node join-token` prints on the store's side"
    )]
    NotJoined,
    /// It joined already.
    #[error(
        "this node joined store {store} as {node} already; if its identity was taken back, `perennial-agent join --again` takes another one; another store needs another state folder"
    )]
    Joined {
        /// The store's id.
        store: String,
        /// The node.
        node: String,
    },
    /// A manifest that is not acted on.
    #[error("the manifest is refused: {0}")]
    Manifest(String),
    /// The store did not answer.
    #[error("the store did not answer: {0}")]
    Unreachable(String),
    /// The store said no.
    #[error("the store refused: {0}")]
    Refused(String),
    /// The store said something that cannot be used.
    #[error("the store's answer cannot be used: {0}")]
    Answer(String),
}

impl Error {
    pub(crate) fn disk(path: &Path, error: &io::Error) -> Error {
        Error::Disk(files::at(path, error))
    }
}
