//! What an operator's commands do; nothing that the API cannot.
//!
//! [`Command`] is what can be asked, [`run`] does it: it settles where the server is ([`Connection`]), speaks to it ([`Remote`]),
//! and shows the answer. Data goes to one writer and talk to another, both given by the caller, and the time is an argument.
//!
//! [`adopt`] needs no server: it reads configurations and writes a fleet file.
//!
//! **Never here:** a decision about certificates. What is due, what is refused and what is accepted is the server's to say.

pub mod adopt;
mod command;
mod connection;
mod error;
mod input;
mod remote;
mod route;
mod session;
mod show;

pub use command::{Command, ROOT_CAUSES, ReleaseCommand, WhenArgs, show_carried};
pub use connection::{CLIENT_FILE, Connection, Environment, Settled};
pub use error::{Error, Exit};
pub use input::{Keyboard, Terminal};
pub use remote::Remote;
pub use route::Route;
pub use session::run;
pub use show::Screen;
