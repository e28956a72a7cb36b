//! The HELP subcommands: a container's own words in the shape Redis gives them.

use crate::base::text::shown_to_zero;
use crate::resp::error::CmdError;
use crate::resp::reply::{Replied, Reply};

/// Answers `<container> HELP`: each line is a subcommand with its arguments, and what it does.
pub fn help(reply: &mut Reply, container: &str, lines: &[(&str, &str)]) -> Replied {
    reply.array(1 + 2 * (lines.len() + 1));
    let title = format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
    let _ = reply.simple(&title);
    for (call, meaning) in lines.iter().chain(&[("HELP", "Print this help.")]) {
        let _ = reply.simple(call);
        let _ = reply.simple(&format!("    {meaning}"));
    }
    reply.done()
}

/// The error of a subcommand that has words too many, which its arity does not tell.
pub fn miscounted(container: &str, sub: &[u8]) -> CmdError {
    let sub = shown_to_zero(sub);
    CmdError::err(format_args!(
        "unknown subcommand or wrong number of arguments for '{sub}'. Try {container} HELP."
    ))
}
