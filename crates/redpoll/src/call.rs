//! `redpoll SERVICE OPERATION …`: the operations of the services as commands.
//!
//! The commands are made from the services' tables, so a new row there is a new command here: what stands in the operation's path are its
//! arguments, the other fields of its input are flags. It speaks to the store itself, not to a server's HTTP, so it does the same on every backend.
//!
//! The result is one JSON document on standard output; of a feed, one on each line until it is interrupted. What the command line gets wrong is exit code 2, as is input that an operation refuses.

use std::io::{ErrorKind, Read, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Arg, ArgAction, ArgMatches, Command};
use redpoll_services::backend::url_from_environment;
use redpoll_services::operation::{Envelope, Feed, Operation, Run, Service, Shape};
use redpoll_services::{Backend, BackendConfig, Error, SERVICES, Services, Settings};
use serde_json::{Map, Value as Json};

/// Where `redpoll serve` listens.
const DEFAULT_URL: &str = "redis://127.0.0.1:6379";

/// Exit code for input that cannot be understood.
const MISUSED: u8 = 2;

/// Most bytes of input from a file or standard input.
const INPUT_MAX: u64 = 64 << 20;

/// Returns a command for each service.
pub(crate) fn commands() -> impl Iterator<Item = Command> {
    SERVICES.iter().filter(|service| operations(service).next().is_some()).map(|service| {
        let command = Command::new(service.name).about(first_sentence(service.doc)).long_about(service.doc);
        let command = command.subcommand_required(true).arg_required_else_help(true).subcommand_value_name("OPERATION");
        command.subcommands(operations(service).map(operation_command))
    })
}

/// Returns what a service does under names of its own; rows in an envelope repeat it for clients that exist.
fn operations(service: &'static Service) -> impl Iterator<Item = &'static Operation> {
    service.operations.iter().filter(|operation| operation.envelope == Envelope::None)
}

fn operation_command(operation: &'static Operation) -> Command {
    let shape = Shape::of(operation);
    let arguments: Vec<&str> = operation.path_params().collect();
    let command = Command::new(command_name(operation.name))
        .about(operation.summary)
        .long_about(format!("{}\n\n{}", operation.summary, operation.doc))
        .arg(Arg::new(URL).long(URL).value_name("URL").help(
            "The store: redis://HOST:PORT, redis+cluster://HOST:PORT,… or embedded:DIRECTORY [default: REDIS_URL or redis://127.0.0.1:6379]",
        ))
        .arg(Arg::new(INPUT).long(INPUT).value_name("JSON").help("Fields as one JSON object; - reads it from standard input"));
    let command = arguments.iter().enumerate().fold(command, |command, (index, name)| {
        let doc = shape.fields().find(|field| field.name == *name).map(|field| field.doc.to_owned());
        command.arg(
            Arg::new(*name)
                .required(true)
                .index(index + 1)
                .value_name(name.to_uppercase())
                .help(doc.unwrap_or_default()),
        )
    });
    shape.fields().filter(|field| !arguments.contains(&field.name)).fold(command, |command, field| {
        let arg = Arg::new(field.name.to_owned()).long(command_name(field.name)).value_name("VALUE");
        let several = if field.is_list { " (may be given several times)" } else { "" };
        let needed = if field.is_required { " (required)" } else { "" };
        let arg = arg.action(ArgAction::Append).allow_hyphen_values(true);
        command.arg(arg.help(format!("{}{several}{needed}", field.doc.replace('\n', " "))))
    })
}

/// The flags that are no fields.
const URL: &str = "url";
const INPUT: &str = "input";

/// Runs the operation that a command line means; none if it means something else.
pub(crate) fn run(matches: &ArgMatches) -> Option<ExitCode> {
    let (service, matches) = matches.subcommand()?;
    let service = SERVICES.iter().find(|one| one.name == service)?;
    let (operation, matches) = matches.subcommand()?;
    let operation = operations(service).find(|one| command_name(one.name) == operation)?;
    Some(match call(operation, matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("redpoll: {error:#}");
            let is_misuse = error.is::<Misused>() || matches!(error.downcast_ref(), Some(Error::InvalidInput { .. }));
            if is_misuse { ExitCode::from(MISUSED) } else { ExitCode::FAILURE }
        }
    })
}

/// What a command line gets wrong.
#[derive(Debug)]
struct Misused(String);

impl std::fmt::Display for Misused {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Misused {}

fn call(operation: &'static Operation, matches: &ArgMatches) -> anyhow::Result<()> {
    let input = input(operation, matches)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let services = services(matches.get_one::<String>(URL)).await?;
        match operation.run {
            Run::Answer(run) => {
                let result = run(services, Json::Object(input)).await?;
                writeln!(std::io::stdout().lock(), "{}", serde_json::to_string_pretty(&result)?)?;
                Ok(())
            }
            Run::Feed(open) => print(open(services, Json::Object(input)).await?).await,
        }
    })
}

/// Writes what a feed gives, a line each, until it ends or nobody reads.
async fn print(feed: Box<dyn Feed>) -> anyhow::Result<()> {
    while let Some(item) = feed.next().await {
        match writeln!(std::io::stdout().lock(), "{}", item.into_json()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
            written => written?,
        }
    }
    Ok(())
}

/// Returns where the store is, as the flag or the environment says.
pub(crate) fn url(flag: Option<&String>) -> anyhow::Result<String> {
    match flag {
        Some(url) => Ok(url.clone()),
        None => Ok(url_from_environment(&|name| std::env::var(name).ok())?.unwrap_or_else(|| DEFAULT_URL.to_owned())),
    }
}

/// Connects as the flag or the environment says.
async fn services(url: Option<&String>) -> anyhow::Result<Services> {
    let lookup = |name: &str| std::env::var(name).ok();
    let url = self::url(url)?;
    let backend = Backend::connect_with(&url, BackendConfig::from_environment(&lookup)?).await;
    Ok(Services::new(
        backend.with_context(|| crate::backend::without_secret(&url).to_owned())?,
        Settings::from_environment(&lookup)?,
    ))
}

/// Makes the operation's input: the object that was given, over it the flags, over them the arguments.
fn input(operation: &Operation, matches: &ArgMatches) -> anyhow::Result<Map<String, Json>> {
    let mut input = match matches.get_one::<String>(INPUT).map(String::as_str) {
        None => Map::new(),
        Some("-") => {
            let mut text = String::new();
            std::io::stdin().lock().take(INPUT_MAX).read_to_string(&mut text).context("standard input")?;
            object(&text)?
        }
        Some(text) => object(text)?,
    };
    let shape = Shape::of(operation);
    let mut given = Map::new();
    for field in shape.fields() {
        for text in matches.get_many::<String>(field.name).into_iter().flatten() {
            shape.add(field.name, text, &mut given).map_err(|misfit| Misused(misfit.to_string()))?;
        }
    }
    input.extend(given);
    Ok(input)
}

fn object(text: &str) -> anyhow::Result<Map<String, Json>> {
    match serde_json::from_str(text) {
        Ok(Json::Object(fields)) => Ok(fields),
        Ok(_) => Err(Misused("--input must be a JSON object".to_owned()).into()),
        Err(error) => Err(Misused(format!("--input is not JSON: {error}")).into()),
    }
}

/// Writes a name as command lines do.
fn command_name(name: &str) -> String {
    name.replace('_', "-")
}

fn first_sentence(text: &str) -> &str {
    text.split_inclusive(". ").next().unwrap_or(text).trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_a_command_that_can_be_typed() {
        let root = Command::new("redpoll").subcommands(commands());
        root.clone().debug_assert();
        for service in SERVICES {
            for operation in operations(service) {
                let shape = Shape::of(operation);
                assert!(shape.fields().all(|field| ![URL, INPUT].contains(&field.name)), "{operation:?}");
                for name in operation.path_params() {
                    assert!(shape.fields().any(|field| field.name == name), "{operation:?} has no field {name}");
                }
            }
        }
    }
}
