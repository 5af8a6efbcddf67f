//! The versions of images, as their tags say them.

use std::fmt;

/// A version: `v1.2.3`, `1.2`, or `0.80.1-rc.1`. What follows the numbers does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageVersion {
    /// The first number.
    pub major: u32,
    /// The second; 0 without one.
    pub minor: u32,
    /// The third; 0 without one.
    pub patch: u32,
}

/// By how much two versions differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// In the third number.
    Patch,
    /// In the second.
    Minor,
    /// In the first.
    Major,
}

impl fmt::Display for ImageVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl ImageVersion {
    /// That of an image; none if its tag is no version, or if it has only a digest.
    pub fn of(image: &str) -> Option<Self> {
        let name = image.split('@').next()?;
        let (_, tag) = name.rsplit('/').next()?.split_once(':')?;
        let numbers = tag.strip_prefix('v').unwrap_or(tag);
        let numbers = numbers.split(['-', '+', '_']).next()?;
        let all: Vec<u32> =
            numbers.split('.').map(|number| number.parse().ok()).collect::<Option<_>>()?;
        match *all.as_slice() {
            [major] => Some(Self { major, minor: 0, patch: 0 }),
            [major, minor] => Some(Self { major, minor, patch: 0 }),
            [major, minor, patch] => Some(Self { major, minor, patch }),
            _ => None,
        }
    }

    /// By how much another one differs; none: it does not.
    pub fn step_to(self, other: Self) -> Option<Step> {
        match () {
            () if self.major != other.major => Some(Step::Major),
            () if self.minor != other.minor => Some(Step::Minor),
            () if self.patch != other.patch => Some(Step::Patch),
            () => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_off_the_tag_of_an_image() {
        let version = |major, minor, patch| Some(ImageVersion { major, minor, patch });
        let cases = [
            ("pd:0.80.1", version(0, 80, 1)),
            ("ghcr.io:5000/penumbra/pd:v0.80", version(0, 80, 0)),
            ("postgres:16", version(16, 0, 0)),
            ("pd:1.2.3-rc.1", version(1, 2, 3)),
            ("pd:1.2.3@sha256:abc", version(1, 2, 3)),
            ("pd:16_3", version(16, 0, 0)),
            ("pd", None),
            ("localhost:5000/pd", None),
            ("pd:latest", None),
            ("pd:1.2.3.4", None),
            ("pd:1.x", None),
            ("pd@sha256:abc", None),
        ];
        for (image, expected) in cases {
            assert_eq!(ImageVersion::of(image), expected, "{image}");
        }
    }

    #[test]
    fn the_first_number_that_differs_counts() {
        let cases = [
            ("a:1.2.3", "a:2.2.3", Some(Step::Major)),
            ("a:1.2.3", "a:1.1.4", Some(Step::Minor)),
            ("a:1.2.3", "a:1.2.4", Some(Step::Patch)),
            ("a:1.2", "a:1.2.0", None),
        ];
        for (one, other, expected) in cases {
            let both = ImageVersion::of(one).zip(ImageVersion::of(other));
            assert_eq!(
                both.and_then(|(one, other)| one.step_to(other)),
                expected,
                "{one}, {other}"
            );
        }
    }
}
