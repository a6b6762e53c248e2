//! Reads the lines of a transcript. What a line is shows in its first character; anything else continues a reply.

use super::{Action, Directive, Line, Markers, Step, Transcript, words};
use crate::Protocol;
use anyhow::{Context, Result, bail, ensure};

/// Longest time that `@advance` lets pass, in milliseconds: a real clock has to wait it out.
const ADVANCE_LIMIT_MS: u64 = 60_000;

pub(super) fn parse(name: &str, text: &str) -> Result<Transcript> {
    let mut reader = Reader { lines: Vec::new(), markers: None, in_block: false };
    for (index, line) in text.lines().enumerate() {
        reader.line(index + 1, line).with_context(|| format!("{name}:{}", index + 1))?;
    }
    ensure!(reader.markers.is_none(), "{name}: markers without a command at the end");
    let transcript = Transcript { name: name.to_owned(), lines: reader.lines };
    let commands = transcript.lines.iter().filter(|line| matches!(line, Line::Step(_))).count();
    ensure!(commands > 0, "{name}: no commands, so it could not fail");
    Ok(transcript)
}

struct Reader {
    lines: Vec<Line>,
    /// Markers that wait for their command.
    markers: Option<String>,
    in_block: bool,
}

impl Reader {
    fn line(&mut self, number: usize, line: &str) -> Result<()> {
        let text = line.to_owned();
        let body = |mark: usize| line[mark..].trim();
        match line.as_bytes().first() {
            None => self.push(Line::Text(text)),
            Some(b'#') if line.starts_with("## ") => {
                self.in_block = true;
                self.push(Line::Block(text))
            }
            Some(b'#') => self.push(Line::Text(text)),
            Some(b'@') => {
                ensure!(self.in_block, "a directive before the first block (`## title`)");
                let action = directive(body(1))?;
                self.push(Line::Directive { text, action })
            }
            Some(b'~') => {
                ensure!(self.markers.is_none(), "two lines of markers; separate markers by commas");
                self.markers = Some(text);
                Ok(())
            }
            Some(b'>') if line.starts_with(">&") => {
                self.step(number, text.clone(), Action::Send(words::split(body(2))?))
            }
            Some(b'>') => self.step(number, text.clone(), Action::Call(words::split(body(1))?)),
            Some(b'<') if line.trim_end() == "<" => self.step(number, text, Action::Receive),
            Some(_) => self.expectation(line),
        }
    }

    fn push(&mut self, line: Line) -> Result<()> {
        ensure!(self.markers.is_none(), "markers must stand right before their command");
        self.lines.push(line);
        Ok(())
    }

    fn step(&mut self, number: usize, text: String, action: Action) -> Result<()> {
        ensure!(self.in_block, "a command before the first block (`## title`)");
        let marker_text = self.markers.take();
        let markers = Markers::parse(marker_text.as_deref().map_or("", |text| &text[1..]))?;
        self.lines.push(Line::Step(Step { number, marker_text, markers, text, action, expectation: Vec::new() }));
        Ok(())
    }

    fn expectation(&mut self, line: &str) -> Result<()> {
        ensure!(self.markers.is_none(), "markers must stand right before their command");
        match self.lines.last_mut() {
            Some(Line::Step(Step { action: Action::Send(_), .. })) => {
                bail!("`>&` waits for no reply; receive it by `<`")
            }
            Some(Line::Step(step)) => step.expectation.push(line.to_owned()),
            _ => bail!("a reply that follows no command: {line}"),
        }
        Ok(())
    }
}

fn directive(text: &str) -> Result<Directive> {
    let (name, argument) = text.split_once(' ').unwrap_or((text, ""));
    Ok(match (name, argument.trim()) {
        ("resp2", "") => Directive::Protocol(Protocol::Resp2),
        ("resp3", "") => Directive::Protocol(Protocol::Resp3),
        ("client", name) if !name.is_empty() => Directive::Client(name.to_owned()),
        ("advance", ms) => {
            let ms = ms.parse().context("@advance takes milliseconds")?;
            ensure!(ms <= ADVANCE_LIMIT_MS, "@advance waits {ADVANCE_LIMIT_MS} ms at most");
            Directive::Advance(ms)
        }
        ("redpoll-only", reason) => {
            ensure!(!reason.is_empty(), "@redpoll-only needs a reason");
            Directive::RedpollOnly
        }
        _ => bail!("the directive `@{text}` is unknown"),
    })
}
