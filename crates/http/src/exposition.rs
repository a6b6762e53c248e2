//! The Prometheus text format, version 0.0.4, written.
//!
//! A family is `# HELP`, `# TYPE` and its samples together; the writer is handed families one after the other. A family
//! without samples is not written. Label values and help texts are escaped as the format says.

use std::fmt::Write;

/// What a family's numbers mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only grows, until the process starts anew.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets, sum and count.
    Histogram,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// The text as it grows.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    text: String,
}

impl Exposition {
    /// Begins a family and hands over the writer of its samples.
    pub(crate) fn family(&mut self, name: &str, kind: Kind, help: &str, samples: impl FnOnce(&mut Samples<'_>)) {
        let start = self.text.len();
        write!(self.text, "# HELP {name} ").expect("writing to a string cannot fail");
        escape(&mut self.text, help, false);
        writeln!(self.text, "\n# TYPE {name} {}", kind.as_str()).expect("writing to a string cannot fail");
        let header_end = self.text.len();
        samples(&mut Samples { text: &mut self.text, name });
        if self.text.len() == header_end {
            self.text.truncate(start);
        }
    }

    /// Writes a family of one sample without labels.
    pub(crate) fn single(&mut self, name: &str, kind: Kind, help: &str, value: f64) {
        self.family(name, kind, help, |samples| samples.add("", &[], value));
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// Writes the samples of one family.
pub(crate) struct Samples<'a> {
    text: &'a mut String,
    name: &'a str,
}

impl Samples<'_> {
    /// Writes a sample; the suffix is `_bucket`, `_sum` or `_count` for histograms, else empty.
    pub(crate) fn add(&mut self, suffix: &str, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        for (index, (label, text)) in labels.iter().enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            self.text.push_str(label);
            self.text.push_str("=\"");
            escape(self.text, text, true);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        writeln!(self.text, " {value}").expect("writing to a string cannot fail");
    }
}

fn escape(out: &mut String, text: &str, quotes: bool) {
    for char in text.chars() {
        match char {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            _ => out.push(char),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families() {
        let mut exposition = Exposition::default();
        exposition.single("up", Kind::Gauge, "Says \"up\"\nor not.", 1.0);
        exposition.family("none", Kind::Counter, "Nothing.", |_| {});
        exposition.family("errors_total", Kind::Counter, "Errors.", |samples| {
            samples.add("", &[("err", "a\"b\\c\nd"), ("x", "é")], 2.5);
            samples.add("", &[], 1e18);
        });
        assert_eq!(
            exposition.into_text(),
            "# HELP up Says \"up\"\\nor not.\n# TYPE up gauge\nup 1\n\
             # HELP errors_total Errors.\n# TYPE errors_total counter\n\
             errors_total{err=\"a\\\"b\\\\c\\nd\",x=\"é\"} 2.5\nerrors_total 1000000000000000000\n"
        );
    }
}
