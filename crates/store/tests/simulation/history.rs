//! What there was, and from where on it is safe.

/// States one after the other, of which a restart must find one that is not older than the safe one.
///
/// The same state may be there several times. Which one a restart has found is not known then; it is taken for the last, so that whatever came between
/// is still allowed.
#[derive(Clone, Debug)]
pub(crate) struct History {
    states: Vec<String>,
    safe: usize,
}

impl History {
    /// Begins with a state that is safe.
    pub(crate) fn new(state: String) -> History {
        History { states: vec![state], safe: 0 }
    }

    /// Notes what there is now; returns whether it is another state than before.
    pub(crate) fn note(&mut self, state: &str) -> bool {
        let is_new = self.states[self.now()] != state;
        if is_new {
            self.states.push(state.to_owned());
        }
        is_new
    }

    /// Returns the place of the last state.
    pub(crate) fn now(&self) -> usize {
        self.states.len() - 1
    }

    /// Notes that a state is safe, and with it all before it.
    pub(crate) fn is_safe(&mut self, place: usize) {
        self.safe = self.safe.max(place);
    }

    /// Takes a state for what a restart has found; returns how many are lost.
    ///
    /// # Errors
    /// That it is none of those it may be.
    pub(crate) fn restart(&mut self, state: &str, after: After) -> Result<usize, String> {
        let Some(place) = self.states.iter().rposition(|known| known == state) else {
            return Err("there never was such a state".to_owned());
        };
        if place < self.safe {
            let (safe, now) = (self.safe, self.now());
            return Err(format!("this is state {place}, but state {safe} of {now} was safe"));
        }
        let lost = self.now() - place;
        self.states.truncate(place + 1);
        if after == After::Crash {
            self.safe = place;
        }
        Ok(lost)
    }
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// The power went: what a restart finds is on the platter.
    Crash,
    /// It was killed: what a restart finds may still be lost.
    Kill,
}
