//! Numbers in a file, and what is said of those that are none: in words, and not in types.

use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU64;

use serde::Deserializer;
use serde::de::{Error, Unexpected, Visitor};

/// A whole number that is not 0.
pub(super) fn count<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
where
    T: TryFrom<NonZeroU64>,
    D: Deserializer<'de>,
{
    from.deserialize_any(Count(PhantomData)).map(Some)
}

/// A number, whole or not.
pub(super) fn rate<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    from.deserialize_any(PerSecond).map(Some)
}

struct Count<T>(PhantomData<T>);

impl<T: TryFrom<NonZeroU64>> Visitor<'_> for Count<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number, 1 or more")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        let count = u64::try_from(number).ok().and_then(NonZeroU64::new);
        let count = count.and_then(|count| T::try_from(count).ok());
        count.ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
    }
}

struct PerSecond;

impl Visitor<'_> for PerSecond {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number such as 20 or 0.5")
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<f64, E> {
        Ok(number)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<f64, E> {
        let number = i32::try_from(number).ok().map(f64::from);
        number.ok_or_else(|| E::custom("it is larger than any rate"))
    }
}
