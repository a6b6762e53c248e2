//! Makes a failing stream shorter.
//!
//! Delta debugging: cut out chunks, half the stream at first and single commands at last, and keep every cut after
//! which some difference remains. It need not be the first one: any difference is worth a look, and a short one most.

use super::{Command, Mismatch};

/// Most replays that one shrinking takes.
const REPLAY_LIMIT: usize = 600;

/// Shortens `commands`, which show `mismatch`, as far as `replay` still finds one.
pub(super) fn shrink(
    mut commands: Vec<Command>,
    mut mismatch: Mismatch,
    mut replay: impl FnMut(&[Command]) -> Option<Mismatch>,
) -> (Vec<Command>, Mismatch) {
    commands.truncate(mismatch.at + 1);
    let mut chunk = commands.len() / 2;
    let mut replays = 0;
    while chunk > 0 {
        let mut start = 0;
        let before = commands.len();
        while start < commands.len() && replays < REPLAY_LIMIT {
            let end = (start + chunk).min(commands.len());
            let shorter: Vec<Command> = commands[..start].iter().chain(&commands[end..]).cloned().collect();
            replays += 1;
            match replay(&shorter) {
                Some(found) => {
                    commands = shorter;
                    commands.truncate(found.at + 1);
                    mismatch = found;
                }
                None => start = end,
            }
        }
        // A cut may make room for another of the same size; only a pass without any asks for smaller ones.
        if commands.len() == before || chunk > commands.len() / 2 {
            chunk /= 2;
        }
        chunk = chunk.min(commands.len());
        if replays >= REPLAY_LIMIT {
            break;
        }
    }
    (commands, mismatch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::command;

    #[test]
    fn two_culprits_among_a_thousand_are_found() {
        let commands: Vec<Command> = (0..1000).map(|number| command(&number.to_string())).collect();
        let replay = |commands: &[Command]| {
            let first = commands.iter().position(|args| args[0] == b"217")?;
            let second = commands.iter().skip(first).position(|args| args[0] == b"801")?;
            let at = first + second;
            Some(Mismatch { at, what: String::new(), left: String::new(), right: String::new() })
        };
        let mismatch = replay(&commands).unwrap();
        let (shrunk, _) = shrink(commands, mismatch, replay);
        assert_eq!(shrunk, [command("217"), command("801")]);
    }
}
