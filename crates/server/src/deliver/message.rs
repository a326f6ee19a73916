//! The message type lives in the engine, which composes it: see `crates/engine/src/message.rs`. Format that one here.
pub use engine::message::{Kind, Message, Place, Severity};
