//! Which limits each principal has: by its name, by the beginning of its name, or those of everybody.

use std::time::Duration;

use thiserror::Error;
use vouchsafe_certs::Principal;

/// Rates beyond are no limits, and below they are better said by revoking.
const FASTEST: f64 = 1e6;
const SLOWEST: f64 = 1e-3;

/// What one principal may use up at one gateway, over all of its sessions. `None` is no limit.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
#[non_exhaustive]
pub struct PrincipalLimits {
    /// Requests and notifications.
    pub requests: Option<Rate>,
    /// Requests that the server has not answered.
    pub in_flight: Option<usize>,
    /// Octets of messages a second, both directions together.
    pub octets_per_second: Option<u64>,
    /// Sessions at once; where it is not said, [`Limits`](crate::Limits) says it for everybody.
    pub sessions: Option<usize>,
}

impl PrincipalLimits {
    /// What is not said here, `general` says.
    fn or(self, general: Self) -> Self {
        Self {
            requests: self.requests.or(general.requests),
            in_flight: self.in_flight.or(general.in_flight),
            octets_per_second: self.octets_per_second.or(general.octets_per_second),
            sessions: self.sessions.or(general.sessions),
        }
    }
}

/// So many a second in the long run, and so many at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// Between two of them, in the long run.
    pub(super) interval: Duration,
    /// What a full bucket holds.
    pub(super) depth: Duration,
}

impl Rate {
    /// Of a number between 0.001 and 1,000,000 a second. Where `burst` is not said, it is what comes
    /// together in a second, and one at least.
    ///
    /// # Errors
    /// [`LimitError`] for other numbers, and for a burst of nothing.
    pub fn new(per_second: f64, burst: Option<u32>) -> Result<Self, LimitError> {
        if !(SLOWEST..=FASTEST).contains(&per_second) {
            return Err(LimitError::Rate);
        }
        let interval = Duration::from_secs_f64(1.0 / per_second);
        let depth = match burst {
            Some(0) => return Err(LimitError::Burst),
            Some(burst) => interval * burst,
            None => interval.max(Duration::from_secs(1)),
        };
        Ok(Self { interval, depth })
    }
}

/// Why a table of limits is not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LimitError {
    /// Too slow, too fast, or no number.
    #[error("requests per second are a number between 0.001 and 1,000,000")]
    Rate,
    /// Nobody could ever ask.
    #[error("a burst is at least 1")]
    Burst,
    /// No principal has such a name.
    #[error(
        "\"{0}\" names no principal: write a name such as team-a/build-7, or its beginning and *"
    )]
    Pattern(String),
    /// Which of the two would win?
    #[error("\"{0}\" is named twice")]
    Twice(String),
}

/// The limits of every principal. The most specific pattern wins, limit by limit: what it does not
/// say, the next one says that fits, and in the end what is said for everybody.
#[derive(Clone, Debug, Default)]
pub struct LimitTable {
    everybody: PrincipalLimits,
    /// The most specific first.
    patterns: Vec<(Pattern, PrincipalLimits)>,
}

/// A name, or the beginning of a name.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Pattern {
    text: Box<str>,
    is_whole: bool,
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        let (text, is_whole) = text.strip_suffix('*').map_or((text, true), |text| (text, false));
        // The beginning of a name is one if it can be ended.
        let example = format!("spiffe://x/{text}{}", if is_whole { "" } else { "x" });
        if text.contains('*') || Principal::parse(&example).is_err() {
            return None;
        }
        Some(Self { text: text.into(), is_whole })
    }

    fn fits(&self, name: &str) -> bool {
        if self.is_whole { *name == *self.text } else { name.starts_with(&*self.text) }
    }
}

impl LimitTable {
    /// The same limits for everybody.
    #[must_use]
    pub fn new(everybody: PrincipalLimits) -> Self {
        Self { everybody, patterns: Vec::new() }
    }

    /// Other limits for the principal of this name, or (`team-a/*`) for all whose names begin like this.
    ///
    /// # Errors
    /// [`LimitError`] if there can be no such name, or it is in the table.
    pub fn insert(&mut self, pattern: &str, limits: PrincipalLimits) -> Result<(), LimitError> {
        let own = Pattern::parse(pattern).ok_or_else(|| LimitError::Pattern(pattern.to_owned()))?;
        if self.patterns.iter().any(|(other, _)| *other == own) {
            return Err(LimitError::Twice(pattern.to_owned()));
        }
        self.patterns.push((own, limits));
        self.patterns.sort_by_key(|(pattern, _)| {
            (std::cmp::Reverse(pattern.is_whole), std::cmp::Reverse(pattern.text.len()))
        });
        Ok(())
    }

    /// The limits of one principal.
    #[must_use]
    pub fn of(&self, principal: &Principal) -> PrincipalLimits {
        let fitting = self.patterns.iter().filter(|(pattern, _)| pattern.fits(principal.name()));
        let found =
            fitting.fold(PrincipalLimits::default(), |found, (_, limits)| found.or(*limits));
        found.or(self.everybody)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_flight(limit: usize) -> PrincipalLimits {
        PrincipalLimits { in_flight: Some(limit), ..PrincipalLimits::default() }
    }

    fn of(table: &LimitTable, name: &str) -> PrincipalLimits {
        table.of(&Principal::parse(&format!("spiffe://acme.example/{name}")).unwrap())
    }

    #[test]
    fn the_most_specific_wins_whatever_the_order() {
        let patterns = [("*", 1), ("team-a/*", 2), ("team-a/build*", 3), ("team-a/build-7", 4)];
        for turn in 0..patterns.len() {
            let mut table = LimitTable::new(in_flight(9));
            let (later, sooner) = patterns.split_at(turn);
            for (pattern, limit) in sooner.iter().chain(later) {
                table.insert(pattern, in_flight(*limit)).unwrap();
            }
            for (name, limit) in [
                ("team-b/x", 1),
                ("team-a", 1),
                ("team-a/x", 2),
                ("team-a/build-70", 3),
                ("team-a/build-7", 4),
            ] {
                assert_eq!(of(&table, name), in_flight(limit), "{name}");
            }
        }
        assert_eq!(of(&LimitTable::new(in_flight(9)), "x"), in_flight(9));
    }

    #[test]
    fn what_a_pattern_does_not_say_a_less_specific_one_says() {
        let mut table = LimitTable::new(PrincipalLimits { sessions: Some(7), ..in_flight(9) });
        let octets = |octets| PrincipalLimits {
            octets_per_second: Some(octets),
            ..PrincipalLimits::default()
        };
        table.insert("team-a/*", PrincipalLimits { in_flight: Some(2), ..octets(5) }).unwrap();
        table.insert("team-a/x", octets(6)).unwrap();
        let expected =
            PrincipalLimits { octets_per_second: Some(6), sessions: Some(7), ..in_flight(2) };
        assert_eq!(of(&table, "team-a/x"), expected);
    }

    #[test]
    fn what_names_nobody_is_refused() {
        let mut table = LimitTable::default();
        for pattern in ["", "a*b", "**", "/a", "a//b", "spiffe://acme.example/a", "a/", "ä", "//*"]
        {
            let refused = table.insert(pattern, PrincipalLimits::default());
            assert!(matches!(refused, Err(LimitError::Pattern(_))), "{pattern}: {refused:?}");
        }
        table.insert("a/*", PrincipalLimits::default()).unwrap();
        let twice = table.insert("a/*", PrincipalLimits::default());
        assert_eq!(twice, Err(LimitError::Twice("a/*".into())));
    }

    #[test]
    fn rates_are_within_reason() {
        for (per_second, burst) in
            [(0.0, None), (-1.0, None), (f64::NAN, None), (f64::INFINITY, None), (1e7, None)]
        {
            assert_eq!(Rate::new(per_second, burst), Err(LimitError::Rate), "{per_second}");
        }
        assert_eq!(Rate::new(1.0, Some(0)), Err(LimitError::Burst));
        let second = Duration::from_secs(1);
        let rate = Rate::new(10.0, None).unwrap();
        assert_eq!((rate.interval, rate.depth), (second / 10, second));
        let rate = Rate::new(1.0 / 60.0, None).unwrap();
        assert_eq!((rate.interval.as_secs(), rate.depth), (60, rate.interval));
        assert_eq!(Rate::new(1.0 / 60.0, Some(3)).unwrap().depth.as_secs(), 180);
    }
}
