//! The pseudo-random generator behind `math.random`: the 48-bit linear congruential generator of drand48(3).
//!
//! Redis replaces C's `rand` by it, so the numbers a script draws are the same on every machine. Like redis-server 7 we do not
//! reseed before each script: two runs draw different numbers, continuing one sequence that starts at drand48's initial state.
//! Unlike there, a sequence chosen by `math.randomseed` ends with the script that chose it.

use std::sync::Arc;

use mlua::{Lua, MultiValue, Table};
use parking_lot::Mutex;

use crate::arguments::Arguments;
use crate::errors;

const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const INCREMENT: u64 = 0xB;
const MASK: u64 = (1 << 48) - 1;
/// The low 16 bits of a freshly seeded state.
const SEED_LOW: u64 = 0x330E;
/// `math.random` reduces draws modulo this number, hence never returns 1.
const RANGE: i64 = i32::MAX as i64;

/// The state drand48 starts in when nobody seeds it.
const INITIAL_STATE: u64 = 0x1234_ABCD_330E;

/// The sequence all scripts share and the one the running script chose.
#[derive(Debug)]
pub(crate) struct Generator {
    common: u64,
    chosen: Option<u64>,
}

impl Generator {
    pub(crate) fn new() -> Generator {
        Generator { common: INITIAL_STATE, chosen: None }
    }

    /// Starts the sequence named by `seed`, for the running script only.
    fn seed(&mut self, seed: i32) {
        self.chosen = Some((u64::from(seed as u32) << 16) | SEED_LOW);
    }

    /// Returns to the common sequence.
    pub(crate) fn end_run(&mut self) {
        self.chosen = None;
    }

    /// Draws a number in [0, 2^31).
    fn draw(&mut self) -> i64 {
        let state = self.chosen.as_mut().unwrap_or(&mut self.common);
        *state = state.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT) & MASK;
        (*state >> 17) as i64
    }

    fn fraction(&mut self) -> f64 {
        (self.draw() % RANGE) as f64 / RANGE as f64
    }
}

/// Replaces `random` and `randomseed` in the math library.
pub(crate) fn install(lua: &Lua, math: &Table, generator: &Arc<Mutex<Generator>>) -> mlua::Result<()> {
    let shared = generator.clone();
    math.raw_set(
        "random",
        lua.create_function(move |lua, values: MultiValue| {
            let fraction = shared.lock().fraction();
            let args = Arguments::first(lua, values, 3);
            match args.count() {
                0 => Ok(fraction),
                1 => {
                    let upper = args.int(1)?;
                    if upper < 1 {
                        return Err(args.bad(1, "interval is empty"));
                    }
                    Ok((fraction * f64::from(upper)).floor() + 1.0)
                }
                2 => {
                    let (lower, upper) = (args.int(1)?, args.int(2)?);
                    if lower > upper {
                        return Err(args.bad(2, "interval is empty"));
                    }
                    let width = f64::from(upper) - f64::from(lower) + 1.0;
                    Ok((fraction * width).floor() + f64::from(lower))
                }
                _ => Err(errors::text(lua, "wrong number of arguments")),
            }
        })?,
    )?;
    let shared = generator.clone();
    math.raw_set(
        "randomseed",
        lua.create_function(move |lua, values: MultiValue| {
            let args = Arguments::first(lua, values, 3);
            shared.lock().seed(args.int(1)?);
            Ok(())
        })?,
    )
}
