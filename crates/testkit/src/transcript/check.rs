//! Runs a transcript: compares what a target answers, or writes it down.

use super::{Action, Directive, Line, Step, Transcript};
use crate::Reply;
use crate::client::{Protocol, Target, command};
use anyhow::{Result, ensure};
use std::fmt;

/// Whom a transcript is run against, which decides the expectations that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Our implementation: every expectation counts.
    Redpoll,
    /// A redis-server.
    Redis {
        /// Major and minor version.
        version: (u32, u32),
    },
}

/// What came of a check. Its text is the list of differences, or one line when there are none.
#[derive(Debug)]
pub struct Report {
    name: String,
    /// Replies that were compared.
    pub compared: usize,
    /// Replies that were not, because a marker exempts this target.
    pub exempt: usize,
    /// One text per difference, with file, line, command and diff.
    pub differences: Vec<String>,
}

impl Report {
    /// Says whether at least one reply was compared or exempt and none differed.
    pub fn passed(&self) -> bool {
        self.differences.is_empty() && self.compared + self.exempt > 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for difference in &self.differences {
            writeln!(to, "{difference}")?;
        }
        let (differ, compared, exempt) = (self.differences.len(), self.compared, self.exempt);
        write!(to, "{}: {compared} compared, {differ} differ, {exempt} exempt", self.name)
    }
}

pub(super) fn check(transcript: &Transcript, target: &mut dyn Target, subject: Subject) -> Report {
    let name = transcript.name.clone();
    let mut report = Report { name, compared: 0, exempt: 0, differences: Vec::new() };
    walk(transcript, target, subject, |item| {
        let Walked::Reply { step, found, binding } = item else { return };
        if step.expectation.is_empty() {
            report.differences.push(format!("{}:{}: no expectation\n  {}", report.name, step.number, step.text));
        } else if !binding {
            report.exempt += 1;
        } else {
            report.compared += 1;
            if !step.markers.agree(&step.expectation, &found) {
                report.differences.push(difference(&report.name, step, &found));
            }
        }
    });
    report
}

pub(super) fn record(transcript: &Transcript, target: &mut dyn Target, subject: Subject) -> Result<String> {
    let mut text = String::new();
    let mut problems = Vec::new();
    let mut add = |line: &str| text.extend([line, "\n"]);
    walk(transcript, target, subject, |item| match item {
        Walked::Line(line) => add(line),
        Walked::Sent(step) => {
            step.marker_text.iter().for_each(|line| add(line));
            add(&step.text);
        }
        Walked::Reply { step, found, binding } => {
            step.marker_text.iter().for_each(|line| add(line));
            add(&step.text);
            let agree = step.markers.agree(&step.expectation, &found);
            let keep = !binding || step.markers.is_pattern() || (agree && step.markers.keep_when_agreeing());
            if (binding && step.markers.is_pattern() && !agree) || (keep && step.expectation.is_empty()) {
                problems.push(difference(&transcript.name, step, &found));
            }
            (if keep { &step.expectation } else { &found }).iter().for_each(|line| add(line));
        }
    });
    ensure!(problems.is_empty(), "these expectations have to be written by hand:\n{}", problems.join("\n"));
    Ok(text)
}

/// What a walk over a transcript comes by.
enum Walked<'a> {
    /// A line that asks for no reply.
    Line(&'a str),
    /// A command that was sent without waiting.
    Sent(&'a Step),
    /// A step that gave (or, when the target is exempt, may not have given) a reply.
    Reply { step: &'a Step, found: Vec<String>, binding: bool },
}

/// Runs all steps in order. A block starts with an empty store and a fresh RESP2 connection.
fn walk<'a>(transcript: &'a Transcript, target: &mut dyn Target, subject: Subject, mut visit: impl FnMut(Walked<'a>)) {
    let mut skipping = false;
    for line in &transcript.lines {
        match line {
            Line::Text(text) => visit(Walked::Line(text)),
            Line::Block(text) => {
                skipping = false;
                start_block(target, &transcript.name, text);
                visit(Walked::Line(text));
            }
            Line::Directive { text, action } => {
                match action {
                    Directive::RedpollOnly => skipping = subject != Subject::Redpoll,
                    _ if skipping => {}
                    action => direct(target, action),
                }
                visit(Walked::Line(text));
            }
            Line::Step(step) => {
                let reply = if skipping { None } else { perform(target, &step.action) };
                visit(match (&step.action, reply) {
                    (Action::Send(_), _) => Walked::Sent(step),
                    (_, None) => Walked::Reply { step, found: Vec::new(), binding: false },
                    (_, Some(reply)) => {
                        let binding = step.markers.bind(subject);
                        Walked::Reply { step, found: step.markers.print(reply), binding }
                    }
                });
            }
        }
    }
}

fn start_block(target: &mut dyn Target, name: &str, title: &str) {
    target.reset();
    let flushed = target.call(&command("FLUSHALL"));
    assert!(flushed.is_simple("OK"), "{name}, {title}: FLUSHALL was answered by {}", flushed.print());
}

fn direct(target: &mut dyn Target, action: &Directive) {
    match action {
        Directive::Protocol(protocol @ (Protocol::Resp2 | Protocol::Resp3)) => target.set_protocol(*protocol),
        Directive::Client(name) => target.use_client(name),
        Directive::Advance(ms) => target.advance(*ms),
        Directive::RedpollOnly => {}
    }
}

fn perform(target: &mut dyn Target, action: &Action) -> Option<Reply> {
    match action {
        Action::Call(args) => Some(target.call(args)),
        Action::Receive => Some(target.receive()),
        Action::Send(args) => {
            target.send(args);
            None
        }
    }
}

fn difference(name: &str, step: &Step, found: &[String]) -> String {
    let mut text = format!("{name}:{}: differs\n    {}", step.number, step.text);
    for index in 0..step.expectation.len().max(found.len()) {
        match (step.expectation.get(index), found.get(index)) {
            (Some(expected), Some(found)) if expected == found => text += &format!("\n    {found}"),
            (expected, found) => {
                expected.iter().for_each(|line| text += &format!("\n  - {line}"));
                found.iter().for_each(|line| text += &format!("\n  + {line}"));
            }
        }
    }
    text
}
