//! Whether a script keeps to the keys that its caller declares, and comes to an end by itself: then it need not run alone.
//!
//! The text is proven, not the run: a script that has written cannot be stopped when it turns out to want another key. The proof is for the way in which such
//! scripts are written and gives up on anything else, which costs nothing but company. What is asked of a script:
//!
//! - Every command is named by a literal, and every key it is given is `KEYS[…]` or a local that was set to one once (`local key = KEYS[1]`).
//!   The command works on keys that stand at fixed places, and on nothing else.
//! - There is no loop and no recursion. Functions are local, have a name, and are only ever called: never kept, passed, replaced or called by themselves.
//!   So is `redis.call`, and what is called of the libraries is one of [`GLOBALS`] and [`LIBRARIES`], which take a time in proportion to their input. That input
//!   can be made large (`s = s .. s`, again and again), so a run is given a limit of time besides (`reach`).
//! - KEYS is only looked into, and neither it nor any of those names is given to something else. No local has the name of a global, and nothing is assigned
//!   to a global that there is or into a library, so that such scripts can share what they see (`sandbox`). A local's name outside its scope is a global that
//!   there is not, which is refused when it is read or assigned to.
//!
//! All of this can be told from the tokens without a grammar: every rule is about a name and its neighbours. The text has been compiled before, so it is a program.

use std::collections::{HashMap, HashSet};

use redpoll_commands::args::Args;
use redpoll_commands::command::{ADMIN, EXCLUSIVE, Keys, NOSCRIPT, PROTECTED, WHOLE};
use redpoll_commands::registry::Registry;

use crate::tokens::{Token, tokens};

/// Longer texts are not looked at, nor kept for several states.
pub(crate) const MAX_BYTES: usize = 64 * 1024;

/// Functions that may be called, which neither call back nor repeat.
const GLOBALS: &[&str] = &["assert", "error", "select", "tonumber", "tostring", "type", "unpack"];

/// What else a script finds by a global name. A local of such a name is refused, since where it is not in scope the name stands for this.
const OTHER_GLOBALS: &[&str] = &[
    "ARGV",
    "KEYS",
    "_G",
    "_VERSION",
    "collectgarbage",
    "coroutine",
    "gcinfo",
    "getmetatable",
    "ipairs",
    "load",
    "loadstring",
    "next",
    "os",
    "pairs",
    "pcall",
    "rawequal",
    "rawget",
    "rawset",
    "setmetatable",
    "struct",
    "xpcall",
];

/// Functions of libraries that may be called. No patterns and no `rep`: they can take for ever.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("bit", &["arshift", "band", "bnot", "bor", "bswap", "bxor", "lshift", "rol", "ror", "rshift", "tobit", "tohex"]),
    ("cjson", &["decode", "encode"]),
    ("cmsgpack", &["pack", "unpack"]),
    (
        "math",
        &[
            "abs", "ceil", "cos", "deg", "exp", "floor", "fmod", "log", "log10", "max", "min", "modf", "pow", "rad",
            "sin", "sqrt", "tan",
        ],
    ),
    ("redis", &["error_reply", "sha1hex", "status_reply"]),
    ("string", STRING),
    ("table", &["concat", "insert", "remove"]),
];

/// Functions of `string`, which can also be called as methods.
const STRING: &[&str] = &["byte", "char", "format", "len", "lower", "reverse", "sub", "upper"];

/// Commands without keys that scripts call, and which look at nothing but themselves.
const KEYLESS: &[&str] = &["echo", "ping", "publish", "time"];

/// The most tokens that a run can come to, those of a function once for every call of it.
const MAX_WORK: usize = 100_000;

const ENDLESS: &[&str] = &["for", "goto", "repeat", "while"];

const KEYWORDS: &[&str] = &[
    "and", "break", "do", "else", "elseif", "end", "false", "function", "if", "in", "local", "nil", "not", "or",
    "return", "then", "true",
];

/// Keywords behind which an expression begins, so that a name there is not assigned to.
const BEFORE_EXPRESSION: &[&str] = &["and", "elseif", "if", "not", "or", "return"];

/// Tells whether a script keeps to its keys. `text` is one that compiles, without its shebang.
pub(crate) fn keeps_to_its_keys(text: &[u8], registry: &Registry) -> bool {
    text.len() <= MAX_BYTES && Script::read(text).is_some_and(|script| script.is_proven(registry))
}

/// What a local name stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Local {
    /// A value that is not called.
    Value,
    /// One of KEYS, for good.
    Key,
    /// `redis.call` or `redis.pcall`, for good.
    Call,
    /// A function, for good; the tokens of its body.
    Function(usize, usize),
}

struct Script<'t> {
    tokens: Vec<Token<'t>>,
    /// How many brackets are open before each token.
    depths: Vec<usize>,
    locals: HashMap<&'t str, Local>,
}

impl<'t> Script<'t> {
    /// Finds the local names; nothing where the text leaves what can be proven.
    fn read(text: &'t [u8]) -> Option<Script<'t>> {
        let tokens = tokens(text)?;
        let mut script = Script { depths: depths(&tokens), tokens, locals: HashMap::new() };
        let mut seen = HashSet::new();
        for at in 0..script.tokens.len() {
            match script.tokens[at] {
                Token::Name("local") if script.is(at + 1, "function") => {
                    let name = script.name(at + 2)?;
                    let body = (at + 3, script.end_of_function(at + 1)?);
                    script.declare(name, Local::Function(body.0, body.1), &mut seen)?;
                    script.declare_parameters(at + 3, &mut seen)?;
                }
                Token::Name("local") => script.declare_values(at + 1, &mut seen)?,
                Token::Name("function") if !(at > 0 && script.is(at - 1, "local")) => return None,
                _ => {}
            }
        }
        Some(script)
    }

    /// A name that stands for more than a value must be the only one of its kind.
    fn declare(&mut self, name: &'t str, local: Local, seen: &mut HashSet<&'t str>) -> Option<()> {
        let taken = GLOBALS.contains(&name) || LIBRARIES.iter().any(|(library, _)| *library == name);
        if taken || OTHER_GLOBALS.contains(&name) {
            return None;
        }
        let again = !seen.insert(name);
        if again && (local != Local::Value || self.locals[name] != Local::Value) {
            return None;
        }
        self.locals.insert(name, local);
        Some(())
    }

    fn declare_parameters(&mut self, open: usize, seen: &mut HashSet<&'t str>) -> Option<()> {
        let mut at = open + 1;
        while !self.is(at, ")") {
            if let Token::Name(name) = *self.tokens.get(at)? {
                self.declare(name, Local::Value, seen)?;
            }
            at += 1;
        }
        Some(())
    }

    /// `local a, b = KEYS[1], KEYS[2]`, `local call = redis.call`, or any other values.
    fn declare_values(&mut self, first: usize, seen: &mut HashSet<&'t str>) -> Option<()> {
        let mut names = vec![self.name(first)?];
        let mut at = first + 1;
        while self.is(at, ",") {
            names.push(self.name(at + 1)?);
            at += 2;
        }
        let values = if self.is(at, "=") { self.fixed_values(at + 1, names.len()) } else { None };
        for (position, name) in names.into_iter().enumerate() {
            let local = values.as_ref().map_or(Local::Value, |values| values[position]);
            self.declare(name, local, seen)?;
        }
        Some(())
    }

    /// The values from here, if they are `count` keys or the one function that calls commands, and nothing follows them.
    fn fixed_values(&self, mut at: usize, count: usize) -> Option<Vec<Local>> {
        if count == 1 && self.is(at, "redis") && self.is_call_name(at + 2) && self.ends_expression(at + 3) {
            return Some(vec![Local::Call]);
        }
        for position in 0..count {
            at = self.end_of_key(at)?;
            if position + 1 < count {
                at = if self.is(at, ",") { at + 1 } else { return None };
            }
        }
        self.ends_expression(at).then(|| vec![Local::Key; count])
    }

    /// Past `KEYS[…]`, where the position is one number or name.
    fn end_of_key(&self, at: usize) -> Option<usize> {
        let found = self.is(at, "KEYS") && self.is(at + 1, "[") && self.is(at + 3, "]");
        let simple = matches!(self.tokens.get(at + 2), Some(Token::Number | Token::Name(_)));
        (found && simple).then_some(at + 4)
    }

    /// Tells whether what came before is complete: a statement begins here, or nothing follows.
    fn ends_expression(&self, at: usize) -> bool {
        match self.tokens.get(at) {
            None | Some(Token::Symbol(";")) => true,
            Some(Token::Name(name)) => !matches!(*name, "and" | "or"),
            _ => false,
        }
    }

    fn is_proven(&self, registry: &Registry) -> bool {
        self.work() <= MAX_WORK
            && (0..self.tokens.len()).all(|at| match self.tokens[at] {
                Token::Name(name) if ENDLESS.contains(&name) => false,
                Token::Name(name) if KEYWORDS.contains(&name) => true,
                Token::Name(name) => self.is_harmless(at, name, registry),
                Token::Symbol(":") => {
                    matches!(self.tokens.get(at + 1), Some(Token::Name(name)) if STRING.contains(name))
                }
                // What is called must have a name: neither what a call returned nor what stands in a table.
                Token::Symbol("(" | "{") | Token::Text(_) if at > 0 => {
                    !matches!(self.tokens[at - 1], Token::Symbol(")" | "]" | "}") | Token::Text(_))
                }
                Token::Symbol("...") => false,
                _ => true,
            })
    }

    /// How many tokens a run comes to at most. Functions call those declared before them only, whose work is known.
    fn work(&self) -> usize {
        let mut functions: Vec<(&str, usize, usize)> = (self.locals.iter())
            .filter_map(|(name, local)| match local {
                Local::Function(from, to) => Some((*name, *from, *to)),
                _ => None,
            })
            .collect();
        functions.sort_unstable_by_key(|(_, _, to)| *to);
        let mut known: HashMap<&str, usize> = HashMap::new();
        let work = |known: &HashMap<&str, usize>, from: usize, to: usize| {
            let called = self.tokens[from..to].iter().map(|token| match token {
                Token::Name(name) => known.get(name).copied().unwrap_or(0),
                _ => 0,
            });
            called.fold(to - from, usize::saturating_add)
        };
        for (name, from, to) in functions {
            let of_function = work(&known, from, to);
            known.insert(name, of_function);
        }
        work(&known, 0, self.tokens.len())
    }

    /// Judges one name by its neighbours.
    fn is_harmless(&self, at: usize, name: &str, registry: &Registry) -> bool {
        if at > 0 && (self.is(at - 1, ".") || self.is(at - 1, ":")) {
            // A field; those of libraries are judged with the library. The fields of other tables are not called.
            return !self.is_called(at) || self.is(at - 1, ":") || self.is_library_call(at);
        }
        if self.is_table_key(at) {
            return true;
        }
        if at > 0 && (self.is(at - 1, "local") || self.is_function_name(at)) {
            return true;
        }
        match (name, self.locals.get(name)) {
            ("KEYS", _) => self.is_look_at_keys(at),
            ("ARGV", _) => !self.is_called(at) && (self.opens(at + 1) || self.is_read(at, at + 1)),
            ("redis", _) if self.is(at + 1, ".") && self.is_call_name(at + 2) => {
                self.is_declared_call(at + 3, registry) || self.is_alias_of_call(at)
            }
            (_, Some(Local::Call)) => self.is_declared_call(at + 1, registry),
            (_, Some(Local::Key)) => self.is_only_read(at) && !self.is_called(at),
            (_, Some(Local::Function(from, to))) => self.is(at + 1, "(") && !(*from..*to).contains(&at),
            (_, Some(Local::Value)) => !self.is_called(at),
            (_, None) => {
                let library = LIBRARIES.iter().find(|(library, _)| *library == name);
                library.map_or(GLOBALS.contains(&name) && self.is(at + 1, "("), |(_, functions)| {
                    self.is(at + 1, ".")
                        && matches!(self.tokens.get(at + 2), Some(Token::Name(name)) if functions.contains(name))
                        && self.is(at + 3, "(")
                })
            }
        }
    }

    /// `local call = redis.call`, where `call` was taken for what it is.
    fn is_alias_of_call(&self, at: usize) -> bool {
        at >= 3
            && self.is(at - 1, "=")
            && self.is(at - 3, "local")
            && matches!(self.tokens[at - 2], Token::Name(name) if self.locals.get(name) == Some(&Local::Call))
    }

    /// `#KEYS`, or `KEYS[…]` where it is not assigned to and the key not called or looked into.
    fn is_look_at_keys(&self, at: usize) -> bool {
        if at > 0 && self.is(at - 1, "#") {
            return !self.is(at + 1, "[") && !self.is(at + 1, ".");
        }
        self.end_of_key(at).is_some_and(|end| self.is_read(at, end) && !self.opens(end))
    }

    /// A name that is not assigned to, but for its declaration.
    fn is_only_read(&self, at: usize) -> bool {
        let declared = self.is_declaration(at);
        declared || self.is_read(at, at + 1)
    }

    /// Tells whether a name stands in the list of names of a `local`.
    fn is_declaration(&self, at: usize) -> bool {
        let mut first = at;
        // Lua has room for 200 locals.
        while at - first <= 400
            && first >= 2
            && self.is(first - 1, ",")
            && matches!(self.tokens[first - 2], Token::Name(_))
        {
            first -= 2;
        }
        first >= 1 && self.is(first - 1, "local")
    }

    /// Tells whether what stands from `at` to `end` is read: it is within brackets, or an expression has begun and no target of an assignment follows.
    fn is_read(&self, at: usize, end: usize) -> bool {
        if self.is(end, "=") {
            return false;
        }
        if self.depths[at] > 0 {
            return true;
        }
        let begun = at > 0
            && match self.tokens[at - 1] {
                Token::Name(name) => BEFORE_EXPRESSION.contains(&name),
                Token::Symbol(symbol) => !matches!(symbol, ";" | ")" | "]" | "}"),
                Token::Number | Token::Text(_) => false,
            };
        // Between commas outside brackets it might be one of several targets, but for the values of a `local`.
        begun && (!self.is(end, ",") && !self.is(at - 1, ",") || self.follows_equals(at))
    }

    /// Tells whether the list of keys in which this stands comes after an equals sign: `local a, b = KEYS[1], KEYS[2]`.
    fn follows_equals(&self, mut at: usize) -> bool {
        while at >= 5 && self.is(at - 1, ",") && self.end_of_key(at - 5) == Some(at - 1) {
            at -= 5;
        }
        at > 0 && self.is(at - 1, "=")
    }

    /// Tells whether a command is called by what begins here, `('NAME', …)`, that works on declared keys only.
    fn is_declared_call(&self, open: usize, registry: &Registry) -> bool {
        if !self.is(open, "(") {
            return false;
        }
        let Some(arguments) = self.arguments(open) else { return false };
        let Some(&(start, end)) = arguments.first() else { return false };
        let [Token::Text(name)] = self.tokens[start..end] else { return false };
        let Ok(command) = registry.resolve(Args(&[name])) else { return false };
        if command.has(EXCLUSIVE | WHOLE | NOSCRIPT | PROTECTED | ADMIN) || command.is_container() {
            return false;
        }
        match command.keys {
            Keys::None => KEYLESS.contains(&command.original_name.as_str()),
            Keys::Range { first, last, step } => {
                let last = if last < 0 { None } else { Some(last as usize) };
                self.are_keys(&arguments, first, last, step)
            }
            _ => false,
        }
    }

    /// Tells whether these arguments are declared keys; with no last one, all there are, whose number must be known.
    fn are_keys(&self, arguments: &[(usize, usize)], first: usize, last: Option<usize>, step: usize) -> bool {
        let is_key = |&(start, end): &(usize, usize)| {
            self.end_of_key(start) == Some(end)
                || (end == start + 1
                    && matches!(self.tokens[start], Token::Name(name) if self.locals.get(name) == Some(&Local::Key)))
        };
        let last = last.unwrap_or(arguments.len().saturating_sub(1));
        if arguments.len() <= last {
            return false;
        }
        let all = (first..=last).step_by(step).all(|position| is_key(&arguments[position]));
        // A call as the last argument can stand for several.
        let known = last + 1 < arguments.len()
            || arguments.last().is_some_and(|&(start, end)| end == start + 1 || self.end_of_key(start) == Some(end));
        all && known
    }

    /// The tokens of each argument between these brackets.
    fn arguments(&self, open: usize) -> Option<Vec<(usize, usize)>> {
        let (inside, mut start, mut found) = (self.depths[open] + 1, open + 1, Vec::new());
        for at in open + 1..self.tokens.len() {
            let closes = self.is(at, ")") && self.depths[at] == inside;
            if closes || (self.is(at, ",") && self.depths[at] == inside) {
                found.push((start, at));
                start = at + 1;
            }
            if closes {
                return Some(found);
            }
        }
        None
    }

    /// `{name = …}`, where the name is not a variable.
    fn is_table_key(&self, at: usize) -> bool {
        self.is(at + 1, "=")
            && self.depths[at] > 0
            && at > 0
            && matches!(self.tokens[at - 1], Token::Symbol("{" | "," | ";"))
    }

    fn is_function_name(&self, at: usize) -> bool {
        at >= 2 && self.is(at - 1, "function") && self.is(at - 2, "local")
    }

    /// A function of a library: `string.format(`.
    fn is_library_call(&self, at: usize) -> bool {
        let Token::Name(field) = self.tokens[at] else { return false };
        at >= 2
            && !(at >= 3 && self.is(at - 3, "."))
            && matches!(self.tokens[at - 2], Token::Name(owner)
                if LIBRARIES.iter().any(|(library, functions)| *library == owner && functions.contains(&field))
                    || (owner == "redis" && self.is_call_name(at)))
    }

    fn is_call_name(&self, at: usize) -> bool {
        self.is(at, "call") || self.is(at, "pcall")
    }

    /// Tells whether what ends before `at + 1` is called, by any of the three ways there are.
    fn is_called(&self, at: usize) -> bool {
        self.is(at + 1, "(") || self.is(at + 1, "{") || matches!(self.tokens.get(at + 1), Some(Token::Text(_)))
    }

    /// Tells whether what ends here is called or looked into.
    fn opens(&self, at: usize) -> bool {
        matches!(self.tokens.get(at), Some(Token::Symbol("(" | "{" | "[" | "." | ":") | Token::Text(_)))
    }

    fn is(&self, at: usize, text: &str) -> bool {
        matches!(self.tokens.get(at), Some(Token::Name(found) | Token::Symbol(found)) if *found == text)
    }

    fn name(&self, at: usize) -> Option<&'t str> {
        match self.tokens.get(at)? {
            Token::Name(name) if !KEYWORDS.contains(name) => Some(name),
            _ => None,
        }
    }

    /// Past the `end` of the function whose keyword stands here.
    fn end_of_function(&self, keyword: usize) -> Option<usize> {
        let mut open = 0;
        for at in keyword..self.tokens.len() {
            if let Token::Name(name) = self.tokens[at] {
                match name {
                    "function" | "if" | "do" => open += 1,
                    "end" => open -= 1,
                    _ => {}
                }
                if open == 0 {
                    return Some(at + 1);
                }
            }
        }
        None
    }
}

fn depths(tokens: &[Token<'_>]) -> Vec<usize> {
    let mut depth: usize = 0;
    tokens
        .iter()
        .map(|token| {
            let before = depth;
            match token {
                Token::Symbol("(" | "[" | "{") => depth += 1,
                Token::Symbol(")" | "]" | "}") => depth = depth.saturating_sub(1),
                _ => {}
            }
            before
        })
        .collect()
}

#[cfg(test)]
mod tests;
