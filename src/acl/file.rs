//! A file of users: a line each, `user <name> <rules>`. All of it is good, or nothing is taken.

use crate::acl::user::{User, join_selectors};
use crate::acl::{RuleError, Terms, has_spaces};

/// Reads a file. Otherwise every complaint, with the file's name and the line, in Redis's words.
pub fn read(text: &[u8], name: &str, terms: Terms) -> Result<Vec<User>, String> {
    let mut users: Vec<User> = Vec::new();
    let mut complaints = String::new();
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let number = index + 1;
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        match read_line(line, number, name, terms) {
            Ok(user) if users.iter().any(|known| known.name == user.name) => {
                let name = String::from_utf8_lossy(&user.name);
                let text = format!("WARNING: Duplicate user '{name}' found on line {number}. ");
                complaints.push_str(&text);
            }
            Ok(user) => users.push(user),
            Err(complaint) => complaints.push_str(&complaint),
        }
    }
    if complaints.is_empty() {
        return Ok(users);
    }
    complaints.push_str(
        "WARNING: ACL errors detected, no change to the previously active ACL rules was performed",
    );
    Err(complaints)
}

/// Words are set apart by single spaces; there are no quotes.
fn read_line(line: &[u8], number: usize, file: &str, terms: Terms) -> Result<User, String> {
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let ([b"user", name, rules @ ..], true) = (words.as_slice(), words.len() > 1) else {
        return Err(format!(
            "{file}:{number} should start with user keyword followed by the username. "
        ));
    };
    if has_spaces(name) {
        let name = String::from_utf8_lossy(name);
        return Err(format!("'{file}:{number}: username '{name}' contains invalid characters. "));
    }
    let rules = join_selectors(rules)
        .map_err(|_| format!("{file}:{number}: Unmatched parenthesis in selector definition."))?;
    let mut user = User::new(name, terms);
    let mut complaints = String::new();
    let mut wrong = false;
    for rule in &rules {
        match user.apply(rule.trim_ascii(), terms) {
            Ok(()) => {}
            // A name gives no secret away.
            Err(error @ RuleError::Unknown) => {
                let rule = String::from_utf8_lossy(rule);
                complaints.push_str(&format!(
                    "{file}:{number}: Error in applying operation '{rule}': {error}. "
                ));
            }
            // The first only: others may follow from it.
            Err(error) if !wrong => {
                wrong = true;
                complaints.push_str(&format!("{file}:{number}: {error}. "));
            }
            Err(_) => {}
        }
    }
    if complaints.is_empty() { Ok(user) } else { Err(complaints) }
}

/// The text of a file with these users.
pub fn write<'u>(users: impl Iterator<Item = &'u User>) -> Vec<u8> {
    let mut text = Vec::new();
    for user in users {
        text.extend_from_slice(&user.line());
        text.push(b'\n');
    }
    text
}

/// A user as the words behind `user` in a configuration file say; otherwise the complaint.
pub fn read_words(words: &[&[u8]], terms: Terms) -> Result<User, String> {
    let [name, rules @ ..] = words else { return Err("A user has a name".to_owned()) };
    let complain = |about: &[u8], why: &dyn std::fmt::Display| {
        format!("Error in user declaration '{}': {why}", String::from_utf8_lossy(about))
    };
    if has_spaces(name) {
        return Err(complain(name, &"Spaces not allowed in ACL usernames"));
    }
    let joined = join_selectors(rules)
        .map_err(|unmatched| complain(rules[unmatched.0], &"Unmatched parenthesis in selector"))?;
    let mut user = User::new(name, terms);
    user.apply_all(&joined, terms).map_err(|bad| complain(&bad.rule, &bad.error))?;
    Ok(user)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acl::catalog::Catalog;

    #[test]
    fn complaints_name_the_line_and_nothing_is_taken() {
        let catalog = Catalog::default();
        let terms = Terms { catalog: &catalog, all_channels_at_first: false };
        let tail = "WARNING: ACL errors detected, no change to the previously active ACL rules was \
                    performed";
        for (text, complaint) in [
            (
                "\n\nuser a on\n# a comment",
                "f:4 should start with user keyword followed by the username. ",
            ),
            ("user a on\nuser a off", "WARNING: Duplicate user 'a' found on line 2. "),
            (
                "user a +nosuch x y",
                "f:1: Error in applying operation '+nosuch': Unknown command or category name in ACL. f:1: Syntax error. ",
            ),
            ("user a (on", "f:1: Unmatched parenthesis in selector definition."),
            ("user", "f:1 should start with user keyword followed by the username. "),
        ] {
            let error = read(text.as_bytes(), "f", terms).unwrap_err();
            assert_eq!(error, format!("{complaint}{tail}"), "{text}");
        }
        let users = read(b"  user a  on >p \r\n\nuser b", "f", terms).unwrap();
        assert_eq!(users.len(), 2);
        assert!(users[0].admits(b"p"));
        assert_eq!(read(&write(users.iter()), "f", terms).unwrap(), users);
    }
}
