//! Who changed a held template since the revision that runs. The hold names the last of them; where
//! they are several, admission keeps all in the mark `lockkeeper.dev/authors`, one escaped name
//! after the other with a space between.

use std::fmt;

/// In place of the names beyond the sixteenth. In a name every percent sign is `%25`, so no name is
/// this one.
const MORE: &str = "%more";
/// Maximum number of names in a sentence; the status has all.
const IN_WORDS: usize = 6;

/// The users who changed a held template.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Authors {
    names: Vec<String>,
    more: bool,
}

impl Authors {
    /// The only author.
    pub fn only(name: &str) -> Self {
        Self { names: vec![name.to_owned()], more: false }
    }

    /// Those of the mark, and the one that the hold names, who is among them.
    pub fn parse(mark: Option<&str>, last: &str) -> Self {
        let mut authors = Self::default();
        for name in mark.unwrap_or_default().split(' ').filter(|name| !name.is_empty()) {
            match name {
                MORE => authors.more = true,
                name => authors.names.push(name.replace("%20", " ").replace("%25", "%")),
            }
        }
        if !authors.names.iter().any(|name| name == last) {
            authors.names.push(last.to_owned());
        }
        authors
    }

    /// Those whose names are known.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether they are more than admission keeps the names of: then anybody may be one of them.
    pub fn are_too_many(&self) -> bool {
        self.more
    }

    /// Whether this user is one of them.
    pub fn include(&self, user: &str) -> bool {
        self.names.iter().any(|name| name == user)
    }
}

/// A user's name in a sentence: quoted where it could be taken for several names, or for more of
/// the sentence.
pub fn in_words(name: &str) -> String {
    let separates =
        name.contains(|one: char| one.is_whitespace() || one.is_control() || ",;\"".contains(one));
    let quoted = format!("{name:?}");
    // What cannot be seen is escaped in quotes.
    if separates || quoted.len() != name.len() + 2 { quoted } else { name.to_owned() }
}

impl fmt::Display for Authors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words: Vec<_> =
            self.names.iter().take(IN_WORDS).map(|name| in_words(name)).collect();
        match (self.names.len().saturating_sub(IN_WORDS), self.more) {
            (0, false) => {}
            (more, false) => words.push(format!("{more} more")),
            (more, true) => words.push(format!("more than {more} more")),
        }
        match words.split_last() {
            Some((last, [])) => f.write_str(last),
            Some((last, first)) => write!(f, "{} and {last}", first.join(", ")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_names_each_author_once() {
        for (mark, last, expected) in [
            (None, "dev", "dev"),
            (Some(""), "dev", "dev"),
            (Some("dev bot"), "bot", "dev and bot"),
            (Some("dev bot"), "dev", "dev and bot"),
            // Admission did not keep the list for a while.
            (Some("dev bot"), "eve", "dev, bot and eve"),
            (Some("a b c d e f g h"), "a", "a, b, c, d, e, f and 2 more"),
            (Some("a b c d e f g h %more"), "a", "a, b, c, d, e, f and more than 2 more"),
        ] {
            assert_eq!(Authors::parse(mark, last).to_string(), expected, "{mark:?}");
        }
    }

    #[test]
    fn a_name_that_looks_like_several_is_one() {
        let odd = Authors::parse(Some("R&D%20team,%2050%25%20dev%20bot %2520 bot"), "bot");
        assert_eq!(odd.names(), ["R&D team, 50% dev bot", "%20", "bot"]);
        assert!(
            odd.include("bot")
                && odd.include("%20")
                && !odd.include("dev")
                && !odd.include("team,")
        );
        assert_eq!(odd.to_string(), "\"R&D team, 50% dev bot\", %20 and bot");
        let sneaky = Authors::only("dev and eve\u{202e}\n");
        assert_eq!(sneaky.to_string(), "\"dev and eve\\u{202e}\\n\"");
        assert_eq!(
            Authors::only("system:serviceaccount:ci:deployer").to_string(),
            "system:serviceaccount:ci:deployer"
        );
        assert_eq!(Authors::only("CN=build,O=A").to_string(), "\"CN=build,O=A\"");
    }

    #[test]
    fn beyond_sixteen_anybody_may_be_one_of_them() {
        let some = Authors::parse(Some("dev bot"), "bot");
        assert!(!some.are_too_many() && !some.include("boss"));
        let many = Authors::parse(Some("dev bot %more"), "bot");
        assert!(many.are_too_many());
        assert_eq!(many.names(), ["dev", "bot"]);
        // A user of that name.
        assert!(!Authors::parse(Some("dev %25more"), "dev").are_too_many());
    }
}
