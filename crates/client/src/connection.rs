//! Which server, with which token, trusted by which roots.
//!
//! What is said on the command line goes before the environment, and that before the file in the home directory. A token from
//! a file goes only to the server that the same file names: naming another server must never hand it somebody else's token.

use std::path::{Path, PathBuf};

use clap::Args;
use pki::text::escape;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::input::{read_limited, read_secret};

/// The file that a server writes into its data directory, and that may lie in the home directory.
pub const CLIENT_FILE: &str = "client.toml";
/// Largest such file, and largest token file, in bytes.
const MAX_SMALL_FILE: usize = 64 * 1024;
/// Largest file of roots, in bytes.
const MAX_ROOTS_FILE: usize = 8 * 1024 * 1024;

/// Where the server is, as the command line says it.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    /// The server's URL [env: PERENNIAL_SERVER]
    #[arg(long, value_name = "URL", global = true)]
    pub server: Option<String>,
    /// A file that holds the token; the token itself may be in PERENNIAL_TOKEN
    #[arg(long, value_name = "F", global = true)]
    pub token_file: Option<PathBuf>,
    /// Roots that the server's certificate must lead to, PEM [env: PERENNIAL_CA]
    #[arg(long, value_name = "F", global = true)]
    pub ca: Option<PathBuf>,
    /// The data directory of a server on this machine, instead of all the above [env: PERENNIAL_DATA]
    #[arg(long, value_name = "DIR", global = true, conflicts_with = "server")]
    pub data: Option<PathBuf>,
}

/// What the world around says: environment variables, by name.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// A connection that is settled. Cannot be printed: it holds a token.
pub struct Settled {
    /// The server's URL, without a slash at the end.
    pub server: String,
    /// Absent only where no file and no variable names one.
    pub token: Option<Zeroizing<String>>,
    /// PEM; absent means the system's roots.
    pub ca: Option<String>,
    /// What the person should know, such as a file that others can read.
    pub remarks: Vec<String>,
}

/// `client.toml`, as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    server: Option<String>,
    token: Option<String>,
    /// PEM itself, or a path relative to the file.
    ca: Option<String>,
}

/// `client.toml`, read.
#[derive(Default)]
struct File {
    server: Option<String>,
    token: Option<Zeroizing<String>>,
    /// PEM.
    ca: Option<String>,
}

impl Connection {
    /// Settles where to go.
    ///
    /// # Errors
    /// [`Error::Usage`] if no server is named anywhere, or a named file cannot be read.
    pub fn settle(&self, environment: Environment<'_>) -> Result<Settled, Error> {
        let variable = |name: &str| environment(name).filter(|value| !value.is_empty());
        let mut remarks = Vec::new();
        // A file is read only where it can matter, so that a broken one nobody asked for does not stand in the way.
        let file = match (&self.data, &self.server, variable("PERENNIAL_SERVER"), variable("PERENNIAL_DATA")) {
            (Some(data), ..) => read_file(&data.join(CLIENT_FILE), true, &mut remarks)?,
            (None, _, _, Some(data)) => read_file(&Path::new(&data).join(CLIENT_FILE), true, &mut remarks)?,
            (None, ..) => match home_file(environment) {
                Some(path) => read_file(&path, false, &mut remarks)?,
                None => File::default(),
            },
        };
        let of_environment = match self.data {
            Some(_) => None,
            None => variable("PERENNIAL_SERVER"),
        };
        let server = self
            .server
            .clone()
            .or(of_environment)
            .or_else(|| file.server.clone())
            .ok_or_else(|| {
                Error::usage("no server is named; use --server URL, PERENNIAL_SERVER, or --data DIR on the machine of the server")
            })?
            .trim_end_matches('/')
            .to_owned();
        let file = match &file.server {
            Some(named) if named.trim_end_matches('/') == server => file,
            _ => File::default(),
        };

        let token = match (&self.token_file, &self.data, variable("PERENNIAL_TOKEN")) {
            (Some(path), ..) => Some(token_of(path)?),
            // Who names a data directory means its token, whatever another session left in the environment.
            (None, Some(_), other) => file.token.or(other.map(Zeroizing::new)),
            (None, None, Some(token)) => Some(Zeroizing::new(token.trim().to_owned())),
            (None, None, None) => file.token,
        };
        let ca = match (&self.ca, &self.data, variable("PERENNIAL_CA")) {
            (Some(path), ..) => Some(roots_of(path)?),
            (None, Some(_), other) => match file.ca {
                Some(ca) => Some(ca),
                None => other.map(|path| roots_of(Path::new(&path))).transpose()?,
            },
            (None, None, Some(path)) => Some(roots_of(Path::new(&path))?),
            (None, None, None) => file.ca,
        };
        Ok(Settled { server, token, ca, remarks })
    }
}

/// Where the file of this person lies (XDG Base Directory Specification).
fn home_file(environment: Environment<'_>) -> Option<PathBuf> {
    let base = match environment("XDG_CONFIG_HOME").filter(|value| Path::new(value).is_absolute()) {
        Some(base) => PathBuf::from(base),
        None => Path::new(&environment("HOME").filter(|value| !value.is_empty())?).join(".config"),
    };
    Some(base.join("perennial").join(CLIENT_FILE))
}

fn read_file(path: &Path, must_exist: bool, remarks: &mut Vec<String>) -> Result<File, Error> {
    let shown = escape(&path.display().to_string());
    let bytes = match read_secret(path, MAX_SMALL_FILE) {
        Ok(bytes) => bytes,
        Err(error) if !must_exist && error.kind() == std::io::ErrorKind::NotFound => return Ok(File::default()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::Usage(format!("{shown} is not there; a server writes it when it starts with this data directory")));
        }
        Err(error) => return Err(Error::Usage(format!("{shown}: {error}"))),
    };
    // The parser's own message shows the line, and the line may be the token's.
    let wrong = || Error::Usage(format!("{shown} is not what a client reads: server, token and ca as texts in TOML"));
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong())?;
    let Written { server, token, ca } = toml::from_str(text).map_err(|_| wrong())?;
    let token = token.map(Zeroizing::new);
    if token.is_some() && others_can_read(path) {
        remarks.push(format!("{shown} holds a token and can be read by others; run `chmod 600 {shown}`"));
    }
    let ca = match ca {
        Some(path_of_roots) if !path_of_roots.contains("-----BEGIN") => {
            Some(roots_of(&path.parent().unwrap_or(Path::new(".")).join(path_of_roots))?)
        }
        other => other,
    };
    Ok(File { server, token, ca })
}

fn token_of(path: &Path) -> Result<Zeroizing<String>, Error> {
    let shown = escape(&path.display().to_string());
    let bytes = read_secret(path, MAX_SMALL_FILE).map_err(|error| Error::Usage(format!("--token-file {shown}: {error}")))?;
    let text = std::str::from_utf8(&bytes).map(str::trim).unwrap_or_default();
    if text.is_empty() || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Error::Usage(format!("--token-file {shown}: there must be one token in it and nothing else")));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

fn roots_of(path: &Path) -> Result<String, Error> {
    let shown = escape(&path.display().to_string());
    let bytes = read_limited(path, MAX_ROOTS_FILE).map_err(|error| Error::Usage(format!("roots {shown}: {error}")))?;
    String::from_utf8(bytes).map_err(|_| Error::Usage(format!("roots {shown}: this is not PEM")))
}

#[cfg(unix)]
fn others_can_read(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn others_can_read(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const PEM: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

    struct World {
        folder: tempfile::TempDir,
        variables: Vec<(&'static str, String)>,
    }

    impl World {
        fn new() -> World {
            let folder = tempfile::tempdir().unwrap();
            let home = folder.path().join("home");
            std::fs::create_dir_all(home.join(".config/perennial")).unwrap();
            std::fs::create_dir_all(folder.path().join("data")).unwrap();
            let variables = vec![("HOME", home.display().to_string())];
            World { folder, variables }
        }

        fn file(&self, name: &str, text: &str) -> PathBuf {
            let path = self.folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        }

        fn with(mut self, name: &'static str, value: &str) -> World {
            self.variables.push((name, value.to_owned()));
            self
        }

        fn settle(&self, connection: Connection) -> Result<Settled, Error> {
            connection.settle(&|name| self.variables.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone()))
        }

        /// "server token ca"
        fn told(&self, connection: Connection) -> String {
            let s = self.settle(connection).unwrap_or_else(|error| panic!("{error}"));
            format!("{} {} {}", s.server, s.token.map_or("-".into(), |t| t.to_string()), s.ca.map_or("system", |_| "own"))
        }
    }

    fn server(url: &str) -> Connection {
        Connection { server: Some(url.into()), ..Connection::default() }
    }

    #[test]
    fn the_line_goes_before_the_environment_and_that_before_the_home() {
        let world = World::new();
        world.file("home/.config/perennial/client.toml", "server = \"https://home/\"\ntoken = \"h\"\n");
        assert_eq!(world.told(Connection::default()), "https://home h system");
        // The token of the home's file stays with the home's server.
        assert_eq!(world.told(server("https://other")), "https://other - system");
        assert_eq!(world.told(server("https://home")), "https://home h system");

        let world = world.with("PERENNIAL_SERVER", "https://env").with("PERENNIAL_TOKEN", "e");
        assert_eq!(world.told(Connection::default()), "https://env e system");
        assert_eq!(world.told(server("https://line")), "https://line e system");
        let token = world.file("token", " t\n");
        let line = Connection { token_file: Some(token), ..server("https://line") };
        assert_eq!(world.told(line), "https://line t system");

        world.file("data/client.toml", &format!("server = \"https://data\"\ntoken = \"d\"\nca = '''{PEM}'''\n"));
        let data = Connection { data: Some(world.folder.path().join("data")), ..Connection::default() };
        assert_eq!(world.told(data), "https://data d own");
    }

    #[test]
    fn a_data_directory_in_the_environment() {
        let world = World::new();
        world.file("data/client.toml", "server = \"https://data\"\ntoken = \"d\"\nca = \"ca.pem\"\n");
        world.file("data/ca.pem", PEM);
        let data = world.folder.path().join("data").display().to_string();
        let world = world.with("PERENNIAL_DATA", &data);
        assert_eq!(world.told(Connection::default()), "https://data d own");
        assert_eq!(world.told(server("https://line")), "https://line - system");
        let world = world.with("PERENNIAL_TOKEN", "e");
        assert_eq!(world.told(Connection::default()), "https://data e own");
    }

    #[test]
    fn what_cannot_be_settled_says_what_to_do_and_shows_no_token() {
        let world = World::new();
        let error = |connection| world.settle(connection).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error(Connection::default()).contains("--server URL"));
        let data = || Connection { data: Some(world.folder.path().join("data")), ..Connection::default() };
        assert!(error(data()).contains("a server writes it"));
        world.file("data/client.toml", "server = \"https://x\"\ntoken = \"very-secret\nca = 3");
        let said = error(data());
        assert!(said.contains("server, token and ca") && !said.contains("very-secret"), "{said}");
        let empty = world.file("token", "two words\n");
        let said = error(Connection { token_file: Some(empty), ..server("https://x") });
        assert!(said.contains("one token") && !said.contains("two words"), "{said}");
    }

    #[cfg(unix)]
    #[test]
    fn a_token_that_others_can_read_is_remarked() {
        use std::os::unix::fs::PermissionsExt;
        let world = World::new();
        let path = world.file("data/client.toml", "server = \"https://data\"\ntoken = \"d\"\n");
        let data = || Connection { data: Some(world.folder.path().join("data")), ..Connection::default() };
        for (mode, remarks) in [(0o644, 1), (0o600, 0)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(world.settle(data()).unwrap().remarks.len(), remarks, "{mode:o}");
        }
    }
}
