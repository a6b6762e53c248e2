//! A file as the rules see it: its lines, and for Rust the same lines without comments and strings, and which of them
//! are tests or tables.
//!
//! The reader knows just enough of the language for that: comments (nested), strings (also raw), characters as
//! opposed to lifetimes, and matching braces in code that rustfmt laid out. It is not a parser.

/// A file.
#[derive(Debug)]
pub(super) struct Source {
    /// The text as it is.
    pub(super) text: String,
    /// For Rust, the text with comments and the contents of literals blanked out; lines and columns are kept.
    code: String,
    /// Line numbers (from 0) that belong to tests.
    tests: Vec<std::ops::Range<usize>>,
    /// Line numbers (from 0) of tables laid out by hand.
    tables: Vec<std::ops::Range<usize>>,
    all_test: Part,
}

/// How much of a file is test code by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Marked,
    All,
}

/// A line of a Rust file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    /// Counted from 1.
    pub(super) number: usize,
    /// As it is.
    pub(super) text: &'a str,
    /// Without comments and the contents of literals.
    pub(super) code: &'a str,
    /// Whether it is test code.
    pub(super) test: bool,
}

impl Source {
    pub(super) fn new(path: &str, text: String) -> Self {
        let code = if path.ends_with(".rs") { blank(&text) } else { text.clone() };
        let in_folder = |name: &str| path.starts_with(&format!("{name}/")) || path.contains(&format!("/{name}/"));
        let by_place = ["tests", "benches", "examples"].iter().any(|name| in_folder(name))
            || path.ends_with("/tests.rs")
            || path.starts_with("crates/testkit/");
        let tests = items(&code, "#[cfg(test)]");
        let tables = items(&code, "#[rustfmt::skip]");
        Self { text, code, tests, tables, all_test: if by_place { Part::All } else { Part::Marked } }
    }

    /// Gives the lines.
    pub(super) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.text.lines().zip(self.code.lines()).enumerate().map(|(index, (text, code))| {
            let test = self.all_test == Part::All || self.tests.iter().any(|range| range.contains(&index));
            Line { number: index + 1, text, code, test }
        })
    }

    /// Counts the lines that weigh: without tests that stand below the code, and without tables.
    pub(super) fn weight(&self) -> usize {
        let light = |index: usize| self.tests.iter().chain(&self.tables).any(|range| range.contains(&index));
        (0..self.text.lines().count()).filter(|&index| !light(index)).count()
    }

    /// Lists functions with the number of their first line, their name and their length in lines.
    pub(super) fn functions(&self) -> Vec<(usize, String, usize)> {
        let lines: Vec<&str> = self.code.lines().collect();
        let starts = lines.iter().enumerate().filter_map(|(index, line)| Some((index, function_name(line)?)));
        let sized = starts.filter_map(|(index, name)| {
            let end = end_of_item(&lines, index)?;
            Some((index + 1, name.to_owned(), end + 1 - index))
        });
        sized.collect()
    }
}

/// Finds the name of a function that starts on this line of code.
pub(super) fn function_name(line: &str) -> Option<&str> {
    let at = if line.trim_start().starts_with("fn ") { line.find("fn ")? } else { line.find(" fn ")? + 1 };
    let before = line[..at].trim();
    let qualifier = |word: &str| {
        matches!(word, "pub" | "const" | "async" | "unsafe" | "extern" | "default" | "\"\"" | "\"C\"")
            || word.starts_with("pub(")
    };
    if !before.split_whitespace().all(|word| qualifier(word) || matches!(word, "super)" | "crate)")) {
        return None;
    }
    let name = line[at + 3..].split(|symbol: char| !symbol.is_alphanumeric() && symbol != '_').next()?;
    (!name.is_empty()).then_some(name)
}

/// Lists the line ranges of items that carry an attribute.
fn items(code: &str, attribute: &str) -> Vec<std::ops::Range<usize>> {
    let lines: Vec<&str> = code.lines().collect();
    let marked = lines.iter().enumerate().filter(|(_, line)| line.trim() == attribute);
    marked.filter_map(|(index, _)| Some(index..end_of_item(&lines, index + 1)? + 1)).collect()
}

/// Finds the last line of the item that starts at `start`: where its brackets are closed and it ends in `}` or `;`.
fn end_of_item(lines: &[&str], start: usize) -> Option<usize> {
    let mut depth = 0_i64;
    for (index, line) in lines.iter().enumerate().skip(start) {
        for symbol in line.chars() {
            match symbol {
                '{' | '(' | '[' => depth += 1,
                '}' | ')' | ']' => depth -= 1,
                _ => {}
            }
            if depth == 0 && matches!(symbol, '}' | ';') {
                return Some(index);
            }
        }
    }
    None
}

/// What the reader is inside of.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Code,
    LineComment,
    BlockComment(u32),
    String,
    RawString(usize),
}

/// Blanks out comments and the contents of literals. Their quotes stay.
fn blank(text: &str) -> String {
    let symbols: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut state = State::Code;
    let mut at = 0;
    while at < symbols.len() {
        let (next, taken) = step(state, &symbols[at..], at.checked_sub(1).map(|before| symbols[before]));
        let stays = state == State::Code && next == State::Code && taken == 1;
        for &symbol in &symbols[at..at + taken] {
            let quote = symbol == '"' && state != next;
            code.push(if stays || symbol == '\n' || quote { symbol } else { ' ' });
        }
        state = next;
        at += taken;
    }
    code
}

/// Takes one or more symbols; gives the state after them and how many they are.
fn step(state: State, rest: &[char], before: Option<char>) -> (State, usize) {
    let second = rest.get(1).copied();
    match (state, rest[0]) {
        (State::Code, '/') if second == Some('/') => (State::LineComment, 2),
        (State::Code, '/') if second == Some('*') => (State::BlockComment(1), 2),
        (State::Code, '"') => (State::String, 1),
        (State::Code, 'r')
            if !before.is_some_and(|symbol| symbol.is_alphanumeric() && symbol != 'b' || symbol == '_') =>
        {
            let hashes = rest[1..].iter().take_while(|&&symbol| symbol == '#').count();
            if rest.get(1 + hashes) == Some(&'"') { (State::RawString(hashes), 2 + hashes) } else { (State::Code, 1) }
        }
        (State::Code, '\'') => (State::Code, character(rest)),
        (State::LineComment, '\n') => (State::Code, 1),
        (State::BlockComment(depth), '/') if second == Some('*') => (State::BlockComment(depth + 1), 2),
        (State::BlockComment(1), '*') if second == Some('/') => (State::Code, 2),
        (State::BlockComment(depth), '*') if second == Some('/') => (State::BlockComment(depth - 1), 2),
        (State::String, '\\') if second.is_some() => (State::String, 2),
        (State::String, '"') => (State::Code, 1),
        (State::RawString(hashes), '"') if rest[1..].iter().take_while(|&&symbol| symbol == '#').count() >= hashes => {
            (State::Code, 1 + hashes)
        }
        (state, _) => (state, 1),
    }
}

/// Length of a character literal at the start of `rest`, or 1 for the apostrophe of a lifetime.
fn character(rest: &[char]) -> usize {
    match rest {
        [_, '\\', _, tail @ ..] => tail.iter().position(|&symbol| symbol == '\'').map_or(1, |end| end + 4),
        [_, _, '\'', ..] => 3,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, code: &str) {
        assert_eq!(blank(text), code);
    }

    #[test]
    fn comments_and_literals_are_blanked() {
        check("a // b\nc", "a     \nc");
        check("a /* b /* c */ d */ e", &format!("a{}e", " ".repeat(19)));
        check(r#"f("{ \" }") + 1"#, r#"f("      ") + 1"#);
        check(r"'{' + '\'' + '\u{1}' + &'static x", r"    +      +         + &'static x");
        check("a(br#\"} \"{\"#, r\"\\\", r)", "a(b  \"    \" ,  \" \", r)");
    }

    #[test]
    fn tests_and_tables_weigh_nothing() {
        let text =
            "fn a() {\n}\n#[rustfmt::skip]\nconst T: &[u8] = &[\n 1,\n];\n#[cfg(test)]\nmod tests {\n fn b() {}\n}\n";
        let source = Source::new("src/lib.rs", text.to_owned());
        assert_eq!(source.weight(), 2);
        let tests: Vec<usize> = source.lines().filter(|line| line.test).map(|line| line.number).collect();
        assert_eq!(tests, [7, 8, 9, 10]);
    }

    #[test]
    fn functions_are_measured() {
        let text = "pub(super) async fn a<T>(x: [u8; 3])\nwhere\n    T: Fn(),\n{\n    if x {\n    }\n}\ntrait B {\n    fn c(&self);\n}\n";
        let source = Source::new("src/lib.rs", text.to_owned());
        assert_eq!(source.functions(), [(1, "a".to_owned(), 7), (9, "c".to_owned(), 1)]);
        assert_eq!(function_name("    let f: fn (u8) = g;"), None);
        assert_eq!(function_name("    run: fn(&Tree) -> u8,"), None);
    }
}
