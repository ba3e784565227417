//! How long something lives, as people write it: `30s`, `90m`, `24h`, `7d`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

/// No lifetime is longer: 100 years keep every date within four digits of a year.
const LONGEST: u64 = 100 * 366 * 86_400;

/// A whole number of seconds, minutes, hours or days; at least one second.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Lifetime(u64);

impl Lifetime {
    /// So many hours.
    #[must_use]
    pub const fn hours(hours: u16) -> Self {
        Self(hours_to_seconds(hours))
    }

    /// So many days.
    #[must_use]
    pub const fn days(days: u16) -> Self {
        Self(24 * hours_to_seconds(days))
    }

    /// So many seconds, if that is a lifetime.
    pub(crate) fn from_seconds(seconds: u64) -> Option<Self> {
        (1..=LONGEST).contains(&seconds).then_some(Self(seconds))
    }

    /// As a duration.
    #[must_use]
    pub const fn as_duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

#[expect(clippy::as_conversions, reason = "widening, and From is not const")]
const fn hours_to_seconds(hours: u16) -> u64 {
    hours as u64 * 3_600
}

/// In the largest unit that fits: `24h`, `90m`. Days are written from two on, because `24h` reads better than `1d`.
impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |&&(unit, seconds): &&(&str, u64)| {
            self.0.is_multiple_of(seconds) && (unit != "d" || self.0 > seconds)
        };
        let (unit, seconds) = UNITS.iter().find(fits).copied().unwrap_or(("s", 1));
        write!(f, "{}{unit}", self.0 / seconds)
    }
}

/// Not a lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a lifetime is a whole number with a unit: 30s, 90m, 24h or 7d, at least 1s")]
#[non_exhaustive]
pub struct LifetimeError;

impl FromStr for Lifetime {
    type Err = LifetimeError;

    fn from_str(text: &str) -> Result<Self, LifetimeError> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits).ok_or(LifetimeError)?;
        let number: u64 = number.parse().map_err(|_| LifetimeError)?;
        let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(LifetimeError)?;
        let total = number.checked_mul(*seconds).ok_or(LifetimeError)?;
        Self::from_seconds(total).ok_or(LifetimeError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_write_units() {
        for (text, seconds) in [("30s", 30), ("90m", 5_400), ("24h", 86_400), ("7d", 604_800)] {
            let lifetime: Lifetime = text.parse().unwrap();
            assert_eq!(lifetime.as_duration().as_secs(), seconds);
            assert_eq!(lifetime.to_string(), text);
        }
        assert_eq!(Lifetime::hours(24), "1d".parse().unwrap());
        assert_eq!(Lifetime::days(7), "7d".parse().unwrap());
        for wrong in
            ["", "24", "h", "0s", "-1h", "1.5h", "1w", "1 h", "999999d", "99999999999999999999s"]
        {
            assert_eq!(wrong.parse::<Lifetime>(), Err(LifetimeError), "{wrong:?}");
        }
    }
}
