//! The HELP subcommand of containers: who calls it wants to read, so it answers lines.

use redpoll_resp::Writer;

/// Writes the lines between the opening and the closing that every HELP has.
pub(crate) fn reply(out: &mut Writer, container: &str, lines: &[&str]) {
    out.array(lines.len() + 3);
    out.simple(&format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    lines.iter().for_each(|line| out.simple(line));
    out.simple("HELP");
    out.simple("    Prints this help.");
}
