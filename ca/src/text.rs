//! How values are written in records, in the journal and in `ca.toml`.

use aws_lc_rs::digest::{SHA256, digest};
use rustls_pki_types::UnixTime;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// SHA-256 in lower-case hexadecimal.
pub(crate) fn sha256(octets: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for octet in digest(&SHA256, octets).as_ref() {
        // One at a time: `format!` would allocate as often, and records have many of these.
        text.extend(char::from_digit(u32::from(octet >> 4), 16));
        text.extend(char::from_digit(u32::from(octet & 0xf), 16));
    }
    text
}

/// A point in time as rcgen and RFC 3339 want it; `None` beyond the year 9999 (RFC 5280 §4.1.2.5.2).
pub(crate) fn date_time(at: UnixTime) -> Option<OffsetDateTime> {
    let seconds = i64::try_from(at.as_secs()).ok()?;
    OffsetDateTime::from_unix_timestamp(seconds).ok()
}

/// RFC 3339 in UTC, for sentences.
pub(crate) fn rfc3339(at: UnixTime) -> String {
    let text = date_time(at).and_then(|at| at.format(&Rfc3339).ok());
    text.unwrap_or_else(|| "a time beyond the year 9999".to_owned())
}

/// The same as one word, for names of files.
pub(crate) fn compact(at: UnixTime) -> String {
    rfc3339(at).chars().filter(char::is_ascii_alphanumeric).collect()
}

/// Anything that `Display` writes and `FromStr` reads: serial numbers, principals, reasons …
pub(crate) mod as_text {
    use std::borrow::Cow;
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<T: Display, S: Serializer>(
        value: &T,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(crate) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<T, D::Error> {
        Cow::<'de, str>::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// Such a value, if there is one; to be used with serde's `default`.
pub(crate) mod optional {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "serde's `with` passes fields by reference")]
    pub(crate) fn serialize<T: Display, S: Serializer>(
        value: &Option<T>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => super::as_text::serialize(value, to),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<T>, D::Error> {
        super::as_text::deserialize(from).map(Some)
    }
}

/// Lists of such values.
pub(crate) mod as_texts {
    use std::borrow::Cow;
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<T: Display, S: Serializer>(
        values: &[T],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(values.iter().map(ToString::to_string))
    }

    pub(crate) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<T>, D::Error> {
        let texts = Vec::<Cow<'de, str>>::deserialize(from)?;
        texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
    }
}

/// A set of permissions, as the list of its texts in canonical order.
pub(crate) mod permissions {
    use serde::{Deserializer, Serializer};
    use vouchsafe_certs::{Permission, PermissionSet};

    pub(crate) fn serialize<S: Serializer>(set: &PermissionSet, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(set.iter().map(Permission::as_str))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<PermissionSet, D::Error> {
        Ok(super::as_texts::deserialize::<Permission, D>(from)?.into_iter().collect())
    }
}

/// Octets, as base64 (RFC 4648 §4).
pub(crate) mod base64 {
    use std::borrow::Cow;

    use base64ct::{Base64, Encoding};
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(octets: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&Base64::encode_string(octets))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        Base64::decode_vec(&text).map_err(D::Error::custom)
    }
}

/// A public key, as base64 of its SubjectPublicKeyInfo.
pub(crate) mod public_key {
    use serde::de::Error;
    use serde::{Deserializer, Serializer};
    use vouchsafe_certs::PublicKey;

    pub(crate) fn serialize<S: Serializer>(key: &PublicKey, to: S) -> Result<S::Ok, S::Error> {
        super::base64::serialize(&key.to_der(), to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PublicKey, D::Error> {
        PublicKey::from_der(&super::base64::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// A point in time, to the second, as RFC 3339 in UTC.
pub(crate) mod instant {
    use std::borrow::Cow;
    use std::time::Duration;

    use serde::de::Error as _;
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::{OffsetDateTime, Rfc3339, UnixTime, date_time};

    pub(crate) fn serialize<S: Serializer>(at: &UnixTime, to: S) -> Result<S::Ok, S::Error> {
        let text = date_time(*at).and_then(|at| at.format(&Rfc3339).ok());
        to.serialize_str(&text.ok_or_else(|| S::Error::custom("a time beyond the year 9999"))?)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<UnixTime, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        let at = OffsetDateTime::parse(&text, &Rfc3339).map_err(D::Error::custom)?;
        let seconds = u64::try_from(at.unix_timestamp()).map_err(D::Error::custom)?;
        Ok(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// A point in time, if there is one; to be used with serde's `default`.
pub(crate) mod optional_instant {
    use serde::{Deserializer, Serializer};

    use super::{UnixTime, instant};

    #[expect(clippy::ref_option, reason = "serde's `with` passes fields by reference")]
    pub(crate) fn serialize<S: Serializer>(
        at: &Option<UnixTime>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => instant::serialize(at, to),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<UnixTime>, D::Error> {
        instant::deserialize(from).map(Some)
    }
}

/// A set of permissions, if there is one; to be used with serde's `default`.
pub(crate) mod optional_permissions {
    use serde::{Deserializer, Serializer};
    use vouchsafe_certs::PermissionSet;

    use super::permissions;

    #[expect(clippy::ref_option, reason = "serde's `with` passes fields by reference")]
    pub(crate) fn serialize<S: Serializer>(
        set: &Option<PermissionSet>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match set {
            Some(set) => permissions::serialize(set, to),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<PermissionSet>, D::Error> {
        permissions::deserialize(from).map(Some)
    }
}
