//! Redis glob patterns: `*`, `?`, `[a-z]`, `[^a-z]`, and a backslash before a literal.
//!
//! A mismatch goes back to the last star alone: an earlier star taking more could only repeat what
//! the last one can reach as well. So the work is bounded by pattern times text, whatever the
//! pattern.

/// A pattern with more stars in use than this matches nothing, as in Redis, which recurses.
const STARS_MAX: usize = 1000;

/// Whether `text` matches `pattern`, letters by their case.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    run(pattern, text, |byte| byte)
}

/// Whether `text` matches `pattern`, ASCII letters of either case being equal.
pub fn matches_nocase(pattern: &[u8], text: &[u8]) -> bool {
    run(pattern, text, |byte| byte.to_ascii_lowercase())
}

/// Whether a pattern without wildcards is meant: it can match only itself.
pub fn is_literal(pattern: &[u8]) -> bool {
    !pattern.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\'))
}

fn run(pattern: &[u8], text: &[u8], fold: impl Fn(u8) -> u8 + Copy) -> bool {
    let (mut p, mut t) = (0, 0);
    // Behind the last star, and where in the text its match was last tried to end.
    let mut retry: Option<(usize, usize)> = None;
    let mut stars = 0;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            stars += usize::from(retry.is_none_or(|(after_star, _)| after_star != p));
            p += 1;
            if p == pattern.len() {
                return true;
            }
            if stars > STARS_MAX {
                return false;
            }
            retry = Some((p, t));
            continue;
        }
        if let Some(next) = match_one(pattern, p, text[t], fold) {
            p = next;
            t += 1;
        } else if let Some((after_star, tried)) = retry {
            retry = Some((after_star, tried + 1));
            p = after_star;
            t = tried + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// Matches one byte against the pattern's item at `p`; the position behind the item on success.
fn match_one(pattern: &[u8], p: usize, byte: u8, fold: impl Fn(u8) -> u8) -> Option<usize> {
    let (&first, rest) = pattern.get(p..)?.split_first()?;
    match first {
        b'?' => Some(p + 1),
        b'[' => {
            let (hit, used) = match_class(rest, byte, fold);
            hit.then_some(p + 1 + used)
        }
        b'\\' if !rest.is_empty() => (fold(rest[0]) == fold(byte)).then_some(p + 2),
        literal => (fold(literal) == fold(byte)).then_some(p + 1),
    }
}

/// Matches a class whose opening bracket is consumed; a missing closing bracket ends it at the
/// pattern's end. Returns whether it matched and how many bytes of pattern it took.
fn match_class(class: &[u8], byte: u8, fold: impl Fn(u8) -> u8) -> (bool, usize) {
    let negated = class.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let byte = fold(byte);
    let mut hit = false;
    loop {
        match class.get(at..).unwrap_or_default() {
            [] => return (hit != negated, class.len()),
            [b'\\', literal, ..] => {
                hit |= *literal == byte || fold(*literal) == byte;
                at += 2;
            }
            [b']', ..] => return (hit != negated, at + 1),
            [from, b'-', to, ..] => {
                let (from, to) = (fold(*from), fold(*to));
                hit |= (from.min(to)..=from.max(to)).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                hit |= fold(*literal) == byte;
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_match_as_in_redis() {
        let cases = [
            ("*", "", true),
            ("h?llo", "hello", true),
            ("h*llo", "heeeello", true),
            ("h[ae]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            ("h\\*llo", "h*llo", true),
            ("h\\*llo", "hello", false),
            ("a\\", "a\\", true),
            ("[", "a", false),
            ("[abc", "b", true),
            ("[^", "b", true),
            ("[]", "a", false),
            ("[\\]]", "]", true),
            ("[a-]", "-", false),
            ("a**", "a", true),
            ("a?", "a", false),
            ("", "", true),
            ("", "a", false),
            ("user:*:name", "user:1:2:name", true),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
        assert!(matches_nocase(b"H[A-C]LLO*", b"hbllo there"));
        assert!(!matches(b"H*", b"hello"));
    }

    #[test]
    fn exponential_patterns_end_soon() {
        let pattern = b"a*".repeat(500);
        let mut pattern = pattern.clone();
        pattern.push(b'b');
        assert!(!matches(&pattern, &b"a".repeat(5000)));
    }

    /// The definition, exponential and all.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (None, Some(_)) => false,
            (Some((b'*', rest)), _) => {
                naive(rest, text) || (!text.is_empty() && naive(pattern, &text[1..]))
            }
            (Some(_), None) => false,
            (Some(_), Some((&byte, tail))) => match_one(pattern, 0, byte, |byte| byte)
                .is_some_and(|next| naive(&pattern[next..], tail)),
        }
    }

    #[test]
    fn a_pattern_of_very_many_stars_matches_nothing() {
        let text = vec![b'a'; 5000];
        assert!(matches(&b"*?".repeat(1000), &text));
        assert!(!matches(&b"*?".repeat(1002), &text));
    }

    proptest! {
        #[test]
        fn matching_agrees_with_the_definition(pattern in "[a-c*?\\[\\]^\\\\-]{0,10}", text in "[a-c]{0,8}") {
            prop_assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                naive(pattern.as_bytes(), text.as_bytes())
            );
        }
    }
}
