//! Patterns of keys: `*` is anything within a part, `**` anything at all, `?` one byte but `/`, `[a-z]` one of these,
//! `[!a-z]` one of the others; a backslash takes the next byte as it is. Parts are what lies between slashes.
//!
//! A pattern is matched in one pass over the key with a set of places in the pattern, so no pattern takes longer than its
//! length times that of the key.

/// A pattern that makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    tokens: Vec<Token>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Byte(u8),
    /// Any byte but a slash.
    One,
    /// Ranges, and whether what is in none of them is meant.
    Class(Vec<(u8, u8)>, bool),
    /// Any number of bytes that are no slashes.
    Part,
    /// Any number of bytes.
    All,
}

impl Glob {
    /// Reads a pattern.
    pub fn new(pattern: &[u8]) -> Result<Self, String> {
        let mut bytes = pattern.iter().copied().peekable();
        let mut tokens = Vec::new();
        while let Some(byte) = bytes.next() {
            tokens.push(match byte {
                b'*' if bytes.next_if_eq(&b'*').is_some() => Token::All,
                b'*' => Token::Part,
                b'?' => Token::One,
                b'[' => class(&mut bytes)?,
                b'\\' => Token::Byte(bytes.next().ok_or("a backslash at its end")?),
                byte => Token::Byte(byte),
            });
        }
        Ok(Self { tokens })
    }

    /// What every key that matches begins with.
    pub fn prefix(&self) -> Vec<u8> {
        let bytes = self.tokens.iter().map_while(|token| match token {
            Token::Byte(byte) => Some(*byte),
            _ => None,
        });
        bytes.collect()
    }

    /// Whether a key matches as a whole.
    pub fn matches(&self, key: &[u8]) -> bool {
        let mut places = vec![false; self.tokens.len().saturating_add(1)];
        let mut next = places.clone();
        self.enter(&mut places, 0);
        for byte in key {
            next.fill(false);
            for (at, token) in self.tokens.iter().enumerate() {
                if places.get(at) != Some(&true) {
                    continue;
                }
                let (stays, goes) = token.takes(*byte);
                if stays {
                    self.enter(&mut next, at);
                }
                if goes {
                    self.enter(&mut next, at.saturating_add(1));
                }
            }
            std::mem::swap(&mut places, &mut next);
        }
        places.last() == Some(&true)
    }

    /// Marks a place, and those behind it that need no byte to be reached.
    fn enter(&self, places: &mut [bool], at: usize) {
        if let Some(place) = places.get_mut(at) {
            *place = true;
        }
        if matches!(self.tokens.get(at), Some(Token::Part | Token::All)) {
            self.enter(places, at.saturating_add(1));
        }
    }
}

impl Token {
    /// Whether the pattern stays here over this byte, and whether it goes on behind.
    fn takes(&self, byte: u8) -> (bool, bool) {
        match self {
            Self::Byte(own) => (false, *own == byte),
            Self::One => (false, byte != b'/'),
            Self::Class(ranges, inverted) => {
                let within = ranges.iter().any(|(low, high)| (*low..=*high).contains(&byte));
                (false, byte != b'/' && within != *inverted)
            }
            Self::Part => (byte != b'/', false),
            Self::All => (true, false),
        }
    }
}

fn class(bytes: &mut std::iter::Peekable<impl Iterator<Item = u8>>) -> Result<Token, String> {
    let open = || "a `[` without its `]`".to_owned();
    let inverted = bytes.next_if(|byte| matches!(byte, b'!' | b'^')).is_some();
    let mut ranges = Vec::new();
    loop {
        let low = match bytes.next().ok_or_else(open)? {
            b']' if !ranges.is_empty() => return Ok(Token::Class(ranges, inverted)),
            b'\\' => bytes.next().ok_or_else(open)?,
            byte => byte,
        };
        if bytes.next_if_eq(&b'-').is_none() {
            ranges.push((low, low));
            continue;
        }
        match bytes.next().ok_or_else(open)? {
            b']' => {
                ranges.extend([(low, low), (b'-', b'-')]);
                return Ok(Token::Class(ranges, inverted));
            }
            high if high >= low => ranges.push((low, high)),
            _ => return Err("a range in `[]` that ends before it begins".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, key: &str) -> bool {
        Glob::new(pattern.as_bytes()).unwrap().matches(key.as_bytes())
    }

    #[test]
    fn stars_stop_at_slashes_and_double_ones_do_not() {
        for (pattern, yes, no) in [
            ("app/*", &["app/", "app/mode"][..], &["app", "app/a/b", "xapp/a"][..]),
            ("app/**", &["app/", "app/a/b"], &["app"]),
            ("**/mode", &["a/mode", "a/b/mode"], &["mode", "a/modes"]),
            ("*", &["", "a"], &["a/b"]),
            ("a?c", &["abc"], &["ac", "a/c", "abbc"]),
            ("[a-c]x[!0-9]", &["axy", "cx-"], &["dxy", "ax5", "ax/"]),
            ("[]]", &["]"], &["["]),
            ("[a-]", &["a", "-"], &["b"]),
            (r"a\*", &["a*"], &["ab"]),
            ("*a*b*", &["ab", "xaxbx"], &["ba"]),
            ("", &[""], &["a"]),
        ] {
            for key in yes {
                assert!(matches(pattern, key), "{pattern} {key}");
            }
            for key in no {
                assert!(!matches(pattern, key), "{pattern} {key}");
            }
        }
    }

    #[test]
    fn the_prefix_is_what_comes_before_anything_special() {
        for (pattern, prefix) in [("app/*", "app/"), (r"a\*b?", "a*b"), ("[a]b", ""), ("abc", "abc")] {
            assert_eq!(Glob::new(pattern.as_bytes()).unwrap().prefix(), prefix.as_bytes());
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for pattern in ["[", "[]", "[a", "[a-", "[z-a]", "\\", "[\\"] {
            assert!(Glob::new(pattern.as_bytes()).is_err(), "{pattern}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        assert!(!matches(&"*a".repeat(200), &("a".repeat(150) + &"b".repeat(3900))));
    }
}
