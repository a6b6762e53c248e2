//! LOLWUT: a picture, and the version.
//!
//! Clients and tests read the last line. The picture is the bird the program is named after, in a snowfall that is never the same.

use crate::REDIS_VERSION;
use crate::args::Args;
use crate::command::{Command, FAST, Family, READONLY, cmd};
use crate::cx::Cx;
use crate::error::Error;

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("LOLWUT [VERSION version]", lolwut, READONLY | FAST, "5.0.0", "", "Displays computer art and the Redis version"),
];

/// A picture.
pub(crate) const FAMILY: Family = Family { group: "server", commands: COMMANDS };

/// The bird; snow falls where nothing is.
const PICTURE: &[&str] = &[
    "                                              ",
    "                      .--.                    ",
    "                     /@@  \\                   ",
    "                  <-( o    )                  ",
    "                     \\ '.  '.                 ",
    "                     ( :\\ \\\\  '-.             ",
    "                      \\ '-\\\\\\\\   '.           ",
    "                       '._ '-\\\\.__ '--._      ",
    "   ___________________ _/_)_)_____'''----'__  ",
    "  (___________________________________________)",
    "                                              ",
];

/// One in so many empty places has a flake.
const SNOW: u64 = 14;

/// What flakes look like.
const FLAKES: [char; 2] = ['*', '.'];

/// LOLWUT [VERSION version]
fn lolwut(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    // There is one picture, whichever version of Redis's is asked for.
    if args.len() >= 3 && args.is(1, "VERSION") {
        args.int(2)?;
    }
    let mut text = String::new();
    for line in PICTURE {
        for letter in line.chars() {
            text.push(match letter {
                ' ' if cx.random().is_multiple_of(SNOW) => FLAKES[cx.random() as usize % FLAKES.len()],
                letter => letter,
            });
        }
        text.push('\n');
    }
    text += &format!("\nRedpoll {}, Redis ver. {REDIS_VERSION}\n", env!("CARGO_PKG_VERSION"));
    cx.out.verbatim("txt", text.as_bytes());
    Ok(())
}
