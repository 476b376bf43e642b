//! A PostgreSQL of the tests' own: started by the first test that wants one, shared by all test processes of this user, and
//! gone some seconds after the last has ended, however it ended.
//!
//! Test runners start a process for each test, and `initdb` takes longer than most tests: one server serves them all, each
//! test in a schema of its own. A small shell process looks after the server: users touch a file every second, and when
//! nobody has for a while it stops the server and removes its directory. So nothing is left behind by a test that was killed.
//!
//! PostgreSQL refuses to run as root; then it runs as `postgres` or `nobody`.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Why there is no PostgreSQL.
#[derive(Debug)]
pub struct PostgresError(String);

impl std::fmt::Display for PostgresError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PostgresError {}

impl From<io::Error> for PostgresError {
    fn from(error: io::Error) -> Self {
        Self(format!("PostgreSQL could not be started for the tests: {error}"))
    }
}

const MISSING: &str = "these tests need PostgreSQL's `initdb`, `postgres` and `psql`: run scripts/setup (Debian: apt-get install postgresql), \
                       or set CORDON_POSTGRES_BIN to the directory that has them";
/// How long a server may take to start on a busy machine.
const START: Duration = Duration::from_secs(60);
/// What the server shows to those who connect over TLS, in the directory of its cluster, and the key of it.
const CERTIFICATE: &str = "server.crt";
const KEY: &str = "server.key";
/// A server that nobody has used for so many seconds ends.
const IDLE: u32 = 20;

/// A schema of a test's own on a running server. The server outlives no test for long.
#[derive(Debug)]
pub struct Postgres {
    port: u16,
    password: String,
    schema: String,
    certificate: PathBuf,
    ended: Arc<AtomicBool>,
}

impl Postgres {
    /// Starts the server, unless another test has, and names a schema that nobody else uses.
    ///
    /// # Errors
    /// [`PostgresError`] when there is no PostgreSQL, with what to do about it: a test must not pass without it.
    pub fn start() -> Result<Self, PostgresError> {
        let home = Home::open()?;
        let (port, password) = home.server()?;
        let ended = Arc::new(AtomicBool::new(false));
        std::thread::spawn({
            let (ended, alive) = (Arc::clone(&ended), home.path("alive"));
            move || {
                while !ended.load(Ordering::SeqCst) {
                    let _ = fs::write(&alive, "");
                    std::thread::sleep(Duration::from_secs(1));
                }
            }
        });
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let schema = format!(
            "t{}_{}_{}",
            since.as_millis(),
            std::process::id(),
            NEXT.fetch_add(1, Ordering::SeqCst)
        );
        let made = Self {
            port,
            password,
            schema,
            certificate: home.path("cluster").join(CERTIFICATE),
            ended,
        };
        made.sql(&home.programs, &format!("CREATE SCHEMA {}", made.schema))?;
        Ok(made)
    }

    fn sql(&self, programs: &Path, statement: &str) -> Result<(), PostgresError> {
        let begun = Instant::now();
        // Beside the server, or wherever the client's package has put it.
        let beside = programs.join("psql");
        let psql = if beside.exists() { beside } else { PathBuf::from("psql") };
        loop {
            let output = Command::new(&psql)
                .args([
                    "--no-psqlrc",
                    "--quiet",
                    "--host=127.0.0.1",
                    "--username=cordon",
                    "--dbname=postgres",
                ])
                .args([format!("--port={}", self.port), format!("--command={statement}")])
                .env("PGPASSWORD", &self.password)
                .output()?;
            if output.status.success() {
                return Ok(());
            }
            let said = String::from_utf8_lossy(&output.stderr);
            // It accepts connections before it accepts work.
            if !said.contains("starting up") || begun.elapsed() > START {
                return Err(PostgresError(format!("psql failed: {said}")));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Carries out statements in the schema, beside whoever uses it.
    ///
    /// # Errors
    /// [`PostgresError`] when the server refuses them.
    pub fn execute(&self, statements: &str) -> Result<(), PostgresError> {
        let programs = Home::open()?.programs;
        self.sql(&programs, &format!("SET search_path TO {}; {statements}", self.schema))
    }

    /// URL of the schema, through the port of the server itself.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_through(self.port)
    }

    /// URL of the schema through another port of this machine, which leads to the server.
    #[must_use]
    pub fn url_through(&self, port: u16) -> String {
        format!(
            "postgres://cordon:{}@127.0.0.1:{port}/postgres?sslmode=disable&options=-c%20search_path%3D{}",
            self.password, self.schema
        )
    }

    /// URL of the schema over TLS, which trusts the server's certificate and nobody else's.
    #[must_use]
    pub fn url_over_tls(&self) -> String {
        let verified = format!("sslmode=verify-full&sslrootcert={}", self.certificate.display());
        self.url().replace("sslmode=disable", &verified)
    }

    /// Where the server listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
    }
}

/// The directory of this user's server.
struct Home {
    directory: PathBuf,
    programs: PathBuf,
    /// Who runs the server: user and group.
    runner: Option<(u32, u32)>,
}

impl Home {
    fn open() -> Result<Self, PostgresError> {
        let programs = programs().ok_or_else(|| PostgresError(MISSING.to_owned()))?;
        let uid = fs::metadata("/proc/self")?.uid();
        let runner = if uid == 0 { Some(unprivileged()?) } else { None };
        let directory = std::env::temp_dir().join(format!("cordon-postgres-tls-{uid}"));
        match fs::DirBuilder::new().mode(0o755).create(&directory) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if fs::symlink_metadata(&directory)?.uid() != uid {
                    return Err(PostgresError(format!(
                        "{} belongs to somebody else",
                        directory.display()
                    )));
                }
            }
            Err(error) => return Err(error.into()),
        }
        Ok(Self {
            directory,
            programs,
            runner,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Port and password of the running server, which is started when there is none.
    fn server(&self) -> Result<(u16, String), PostgresError> {
        let lock = File::create(self.path("lock"))?;
        lock.lock()?;
        fs::write(self.path("alive"), "")?;
        if let Some(held) = self.running() {
            return Ok(held);
        }
        let cluster = self.path("cluster");
        if cluster.exists() {
            fs::remove_dir_all(&cluster)?;
        }
        fs::DirBuilder::new().mode(0o700).create(&cluster)?;
        let (port, password) = (free_port()?, random()?);
        let identity = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])
            .map_err(|error| PostgresError(format!("no certificate can be made for PostgreSQL: {error}")))?;
        self.keep(&cluster.join("password"), &password)?;
        self.keep(&cluster.join(KEY), &identity.signing_key.serialize_pem())?;
        self.keep(&cluster.join(CERTIFICATE), &identity.cert.pem())?;
        if let Some((uid, gid)) = self.runner {
            chown(&cluster, Some(uid), Some(gid))?;
        }
        self.make(&cluster)?;
        self.supervise(&cluster, port)?;
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if begun.elapsed() > START {
                let log = fs::read_to_string(cluster.join("log")).unwrap_or_default();
                return Err(PostgresError(format!("PostgreSQL does not answer: {log}")));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        fs::write(self.path("port"), port.to_string())?;
        Ok((port, password))
    }

    /// Writes what only the server may read.
    fn keep(&self, path: &Path, text: &str) -> io::Result<()> {
        let mut file = File::create(path)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(text.as_bytes())?;
        if let Some((uid, gid)) = self.runner {
            chown(path, Some(uid), Some(gid))?;
        }
        Ok(())
    }

    fn running(&self) -> Option<(u16, String)> {
        let port = fs::read_to_string(self.path("port")).ok()?.parse().ok()?;
        TcpStream::connect(("127.0.0.1", port)).ok()?;
        Some((port, fs::read_to_string(self.path("cluster/password")).ok()?))
    }

    fn make(&self, cluster: &Path) -> Result<(), PostgresError> {
        let output = self
            .command(&self.programs.join("initdb"))
            .args([
                "--username=cordon",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--no-locale",
                "--no-sync",
                "--no-instructions",
            ])
            .arg("--pwfile")
            .arg(cluster.join("password"))
            .arg("--pgdata")
            .arg(cluster.join("data"))
            .output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(PostgresError(format!(
            "initdb failed: {}",
            String::from_utf8_lossy(&output.stderr)
        )))
    }

    /// Starts the server under a shell that ends it when nobody uses it any more.
    fn supervise(&self, cluster: &Path, port: u16) -> Result<(), PostgresError> {
        const SCRIPT: &str = r#"
cluster=$1 alive=$2 lock=$3 postgres=$4 port=$5 idle=$6
"$postgres" -D "$cluster/data" -p "$port" -h 127.0.0.1 -k "" -F -c max_connections=200 -c shared_buffers=32MB \
  -c ssl=on -c "ssl_cert_file=$cluster/server.crt" -c "ssl_key_file=$cluster/server.key" >"$cluster/log" 2>&1 &
server=$!
trap 'kill -QUIT $server' TERM INT HUP
unused() { [ -z "$(find "$alive" -newermt "-$idle seconds" 2>/dev/null)" ]; }
while kill -0 $server 2>/dev/null; do
  if unused; then
    # Whoever starts now waits for the lock, and then finds either a server that stays or none.
    exec 9<"$lock"
    flock 9
    if unused; then kill -QUIT $server 2>/dev/null; break; fi
    exec 9<&-
  fi
  sleep 1
done
wait $server
rm -rf "$cluster/data" "$cluster/log" "$cluster/password"
"#;
        self.command(Path::new("/bin/sh"))
            .args(["-c", SCRIPT, "cordon-test-postgres"])
            .arg(cluster)
            .args([self.path("alive"), self.path("lock")])
            .arg(self.programs.join("postgres"))
            .args([port.to_string(), IDLE.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(())
    }

    /// A command of the user that runs the server.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/").env("LC_ALL", "C");
        if let Some((uid, gid)) = self.runner {
            command.uid(uid).gid(gid);
        }
        command
    }
}

/// The directory with PostgreSQL's programs.
fn programs() -> Option<PathBuf> {
    let has = |directory: &PathBuf| directory.join("initdb").exists() && directory.join("postgres").exists();
    let named = std::env::var_os("CORDON_POSTGRES_BIN").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut debian: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|entries| {
            entries
                .filter_map(Result::ok)
                .map(|entry| entry.path().join("bin"))
                .collect()
        })
        .unwrap_or_default();
    debian.sort();
    named
        .into_iter()
        .chain(std::env::split_paths(&path))
        .chain(debian.into_iter().rev())
        .find(has)
}

/// User and group that a server may run as when we are root.
fn unprivileged() -> Result<(u32, u32), PostgresError> {
    let users = fs::read_to_string("/etc/passwd")?;
    let of = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    of("postgres").or_else(|| of("nobody")).ok_or_else(|| {
        PostgresError("PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody`".to_owned())
    })
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A password that nobody guesses.
fn random() -> io::Result<String> {
    let mut bytes = [0_u8; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
