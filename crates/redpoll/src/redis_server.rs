//! The program called as `redis-server`: its command line, its way of starting and of saying so.
//!
//! ```text
//! redis-server [/path/to/redis.conf] [-] [--directive value …]
//! ```
//!
//! Test suites, images and service files start redis-server; a link of that name to the program makes them start this one. The command line is turned
//! into lines of a configuration file by the rules of redis-server, so that errors name the same lines. Only the store is served, with the defaults of
//! redis-server: port 6379 on all addresses, no log but snapshots by its rules, data files in the current directory.
//!
//! What is not there is refused: Sentinel, tests of memory and of the system.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use redpoll_store::Config;
use redpoll_store::commands::REDIS_VERSION;
use redpoll_store::commands::config_file::quote;
use redpoll_store::commands::settings::Setting;

use crate::backend::BackendChoice;
use crate::keys;
use crate::log::{self, Style};
use crate::run::{Plan, Voice};

/// The name under which the program is redis-server.
const NAME: &str = "redis-server";

/// Says to a process that it is the one in the background.
const BACKGROUND: &str = "REDPOLL_IN_BACKGROUND";

/// Where the process id is written of a program in the background that was told nothing else.
const DEFAULT_PIDFILE: &str = "/var/run/redis.pid";

/// The rules of snapshots that redis-server has if nothing else is said.
const DEFAULT_SAVE: &str = "3600 1 300 100 60 10000";

const USAGE: &str = "\
Usage: redis-server [FILE] [--directive value ...] [-]

  FILE                 a configuration file in the format of redis.conf
  --directive value    a line of configuration, read after the file
  -                    more lines, read from standard input before those
  -v, --version        the version, and nothing else
  -h, --help           this text, and nothing else

This is Redpoll under the name of redis-server: the store alone, with the defaults of redis-server.
";

/// What a command line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Version,
    Usage,
    Serve(Lines),
}

/// Where settings come from.
#[derive(Debug, Default, PartialEq, Eq)]
struct Lines {
    file: Option<PathBuf>,
    stdin: bool,
    /// What stands behind the file.
    options: String,
}

/// Tells whether the program was called as redis-server.
pub(crate) fn is_meant(program: &str) -> bool {
    Path::new(program).file_name().is_some_and(|name| name == NAME)
}

/// Does what a redis-server with these arguments does.
pub(crate) fn run(args: &[String]) -> anyhow::Result<()> {
    match parse(args)? {
        Wanted::Version => println!(
            "Redis server v={REDIS_VERSION} sha=00000000:0 malloc=mimalloc bits={} build=redpoll-{}",
            usize::BITS,
            env!("CARGO_PKG_VERSION")
        ),
        Wanted::Usage => print!("{USAGE}"),
        Wanted::Serve(lines) => serve(&lines)?,
    }
    Ok(())
}

fn parse(args: &[String]) -> anyhow::Result<Wanted> {
    let mut lines = Lines::default();
    let mut rest = args;
    match args.first().map(String::as_str) {
        Some("-v" | "--version") if args.len() == 1 => return Ok(Wanted::Version),
        Some("-h" | "--help") if args.len() == 1 => return Ok(Wanted::Usage),
        Some("--test-memory" | "--check-system") => bail!("{} is not supported", args[0]),
        Some(file) if !file.starts_with('-') => {
            lines.file = Some(PathBuf::from(file));
            rest = &args[1..];
        }
        _ => {}
    }
    // A value follows a name whatever it looks like; further values must not look like names.
    let mut value_is_due = false;
    for (at, arg) in rest.iter().enumerate() {
        let next_is_name = rest.get(at + 1).is_none_or(|next| next.starts_with("--"));
        if arg == "-" && at + 1 == rest.len() {
            lines.stdin = true;
        } else if arg == "--sentinel" {
            bail!("Sentinel is not supported");
        } else if !value_is_due && let Some(name) = arg.strip_prefix("--") {
            if !lines.options.is_empty() {
                lines.options.push('\n');
            }
            lines.options.push_str(name);
            lines.options.push(' ');
            value_is_due = name.split_ascii_whitespace().count() == 1;
            if arg.eq_ignore_ascii_case("--save") && next_is_name {
                lines.options.push_str("\"\"");
                value_is_due = false;
            }
        } else {
            let mut word = Vec::new();
            quote(arg.as_bytes(), &mut word);
            lines.options.push_str(&String::from_utf8_lossy(&word));
            lines.options.push(' ');
            value_is_due = false;
        }
    }
    Ok(Wanted::Serve(lines))
}

fn serve(lines: &Lines) -> anyhow::Result<()> {
    let mut further = String::new();
    if lines.stdin {
        std::io::stdin().read_to_string(&mut further).context("cannot read the configuration")?;
    }
    if !lines.options.is_empty() {
        further.push_str(if further.is_empty() { "" } else { "\n" });
        further.push_str(&lines.options);
    }
    let defaults =
        keys::given(Config::in_memory())?.set("dir", ".")?.set("bind", "* -::*")?.set("save", DEFAULT_SAVE)?;
    let config = defaults.read(lines.file.as_deref(), &further)?;
    let is_background = std::env::var_os(BACKGROUND).is_some();
    if config.settings().is_on(Setting::Daemonize) && !is_background {
        return go_to_background();
    }
    let config = enter_directory(config)?;
    log::start(&config, Style::Redis);
    tracing::info!("oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo");
    tracing::info!(
        "Redis version={REDIS_VERSION}, bits={}, redpoll={}, pid={}, just started",
        usize::BITS,
        env!("CARGO_PKG_VERSION"),
        std::process::id()
    );
    if lines.file.is_none() && further.is_empty() {
        tracing::warn!(
            "Warning: no config file specified, using the default config. In order to specify a config file use {NAME} /path/to/redis.conf"
        );
    } else {
        tracing::info!("Configuration loaded");
    }
    let pidfile = match config.settings().text(Setting::Pidfile) {
        path if path.is_empty() && is_background => DEFAULT_PIDFILE.to_owned(),
        path => path,
    };
    let (backend, voice) = (BackendChoice::Embedded, Voice::Redis);
    let plan = Plan { takes_free_port: false, threads: 0, backend, http: None, works: false, voice };
    let noted = note_process(&pidfile);
    let done = plan.run(config);
    if noted {
        std::fs::remove_file(&pidfile).ok();
    }
    match &done {
        Ok(()) => tracing::warn!("Redis is now ready to exit, bye bye..."),
        Err(error) => tracing::error!("{error:#}"),
    }
    done
}

/// Works in the data directory from now on, as relative paths of the settings mean it.
fn enter_directory(config: Config) -> anyhow::Result<Config> {
    let dir = config.settings().text(Setting::Dir);
    let refuse = || format!("Can't chdir to '{dir}'");
    std::env::set_current_dir(&dir).with_context(refuse)?;
    let here = std::env::current_dir().with_context(refuse)?;
    Ok(config.set("dir", &here.to_string_lossy())?)
}

/// Starts the same program without a terminal and leaves it alone.
fn go_to_background() -> anyhow::Result<()> {
    let program = std::env::current_exe().context("cannot find the program to go to the background")?;
    let mut command = Command::new(program);
    command.arg0(NAME).args(std::env::args_os().skip(1)).env(BACKGROUND, "1").process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().context("cannot go to the background")?;
    Ok(())
}

/// Writes the process id where the settings say; false if that is nowhere.
fn note_process(path: &str) -> bool {
    if path.is_empty() {
        return false;
    }
    let written = std::fs::write(path, format!("{}\n", std::process::id()));
    if let Err(error) = &written {
        tracing::warn!("Failed to write PID file: {error}");
    }
    written.is_ok()
}

/// Says which process this is, before anything is loaded: loading may take long, or fail.
pub(crate) fn introduce(port: u16) {
    tracing::info!("Running mode=standalone, port={port}. PID: {}", std::process::id());
    tracing::warn!("Server initialized");
}

/// Says that clients can come.
pub(crate) fn announce() {
    tracing::info!("Ready to accept connections");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(args: &[&str], expected: &str) {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let Wanted::Serve(lines) = parse(&args).unwrap() else { panic!("{args:?} serves nothing") };
        let file = lines.file.map(|file| file.display().to_string()).unwrap_or_default();
        assert_eq!(format!("{file}|{}|{}", lines.stdin, lines.options), expected, "{args:?}");
    }

    #[test]
    fn the_command_line_becomes_lines_of_a_file() {
        check(&[], "|false|");
        check(&["/etc/a.conf"], "/etc/a.conf|false|");
        check(
            &["a.conf", "--port", "6380", "--loglevel", "verbose"],
            "a.conf|false|port \"6380\" \nloglevel \"verbose\" ",
        );
        check(&["--port"], "|false|port ");
        check(&["--port", "1", "2"], "|false|port \"1\" \"2\" ");
        check(&["--port", "--loglevel", "verbose"], "|false|port \"--loglevel\" \"verbose\" ");
        check(&["--port", "--bla", "--hz", "5"], "|false|port \"--bla\" \nhz \"5\" ");
        check(&["--maxmemory 700mb", "--hz 5"], "|false|maxmemory 700mb \nhz 5 ");
        check(&["--save", "--hz", "5"], "|false|save \"\"\nhz \"5\" ");
        check(&["--hz", "5", "--save"], "|false|hz \"5\" \nsave \"\"");
        check(&["--save", "", "--hz", "5"], "|false|save \"\" \nhz \"5\" ");
        check(&["--proc-title-template", "--save", "--save", ""], "|false|proc-title-template \"--save\" \nsave \"\" ");
        check(&["a.conf", "loglevel", "verbose", "-"], "a.conf|true|\"loglevel\" \"verbose\" ");
        check(&["--requirepass", "a \"b\""], r#"|false|requirepass "a \"b\"" "#);
    }

    #[test]
    fn what_is_not_there_is_refused() {
        for args in [["--sentinel"], ["--test-memory"]] {
            assert!(parse(&args.map(str::to_owned)).is_err());
        }
        assert_eq!(parse(&["--version".to_owned()]).unwrap(), Wanted::Version);
        assert_eq!(parse(&["-h".to_owned()]).unwrap(), Wanted::Usage);
        assert!(is_meant("/usr/bin/redis-server") && is_meant("redis-server") && !is_meant("/redis-server/redpoll"));
    }
}
