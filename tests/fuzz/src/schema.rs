//! A second opinion on JSON Schema 2020-12, for schemas of a few keywords: short enough to be seen to be right.

use crate::json::Meaning;

/// Whether a value fits a schema.
#[derive(Debug, PartialEq, Eq)]
pub enum Opinion {
    Fits,
    DoesNotFit,
    /// The schema says something that is not known here.
    None,
}

impl From<bool> for Opinion {
    fn from(fits: bool) -> Self {
        if fits { Self::Fits } else { Self::DoesNotFit }
    }
}

/// Whether `value` fits `schema`, where the schema holds nothing but what is known here.
pub fn opinion(schema: &Meaning, value: &Meaning) -> Opinion {
    let members = match schema {
        Meaning::Bool(fits) => return (*fits).into(),
        Meaning::Map(members) => members,
        _ => return Opinion::None,
    };
    let mut fits = true;
    for (keyword, said) in members {
        match keyword_opinion(schema, keyword, said, value) {
            Opinion::Fits => {}
            Opinion::DoesNotFit => fits = false,
            Opinion::None => return Opinion::None,
        }
    }
    fits.into()
}

fn keyword_opinion(schema: &Meaning, keyword: &str, said: &Meaning, value: &Meaning) -> Opinion {
    match (keyword, said) {
        ("title" | "description", Meaning::Text(_)) => Opinion::Fits,
        ("type", Meaning::Text(kind)) => is_of_kind(kind, value),
        ("required", Meaning::List(names)) => match value {
            Meaning::Map(members) => all(names.iter().map(|name| match name {
                Meaning::Text(name) => members.contains_key(name).into(),
                _ => Opinion::None,
            })),
            _ if names.iter().all(|name| name.text().is_some()) => Opinion::Fits,
            _ => Opinion::None,
        },
        ("properties", Meaning::Map(properties)) => {
            all(properties.iter().map(|(name, property)| {
                // A property that is not there is looked at too, to see whether its schema is known here.
                match value.get(name) {
                    Some(value) => opinion(property, value),
                    None if opinion(property, &Meaning::Null) == Opinion::None => Opinion::None,
                    None => Opinion::Fits,
                }
            }))
        }
        ("additionalProperties", Meaning::Bool(false)) => match value {
            Meaning::Map(members) => {
                let known = |name: &String| {
                    schema.get("properties").is_some_and(|known| known.get(name).is_some())
                };
                members.keys().all(known).into()
            }
            _ => Opinion::Fits,
        },
        ("maxItems", Meaning::Integer(most @ 0..)) => match value {
            Meaning::List(items) => {
                (i128::try_from(items.len()).is_ok_and(|len| len <= *most)).into()
            }
            _ => Opinion::Fits,
        },
        ("minLength", Meaning::Integer(least @ 0..)) => match value {
            Meaning::Text(text) => {
                (i128::try_from(text.chars().count()).is_ok_and(|len| len >= *least)).into()
            }
            _ => Opinion::Fits,
        },
        ("items", said @ (Meaning::Map(_) | Meaning::Bool(_))) => match value {
            Meaning::List(items) if !items.is_empty() => {
                all(items.iter().map(|item| opinion(said, item)))
            }
            _ if opinion(said, &Meaning::Null) == Opinion::None => Opinion::None,
            _ => Opinion::Fits,
        },
        _ => Opinion::None,
    }
}

fn is_of_kind(kind: &str, value: &Meaning) -> Opinion {
    match kind {
        "null" => matches!(value, Meaning::Null).into(),
        "boolean" => matches!(value, Meaning::Bool(_)).into(),
        "string" => matches!(value, Meaning::Text(_)).into(),
        "array" => matches!(value, Meaning::List(_)).into(),
        "object" => matches!(value, Meaning::Map(_)).into(),
        "number" => matches!(value, Meaning::Integer(_) | Meaning::Float(_)).into(),
        "integer" => match value {
            // 1.0 is an integer, and what has lost its digits may or may not be one.
            Meaning::Float(number) if number.abs() < 1e15 => (number.fract() == 0.0).into(),
            Meaning::Float(_) => Opinion::None,
            _ => matches!(value, Meaning::Integer(_)).into(),
        },
        _ => Opinion::None,
    }
}

fn all(opinions: impl Iterator<Item = Opinion>) -> Opinion {
    let mut fits = true;
    for opinion in opinions {
        match opinion {
            Opinion::Fits => {}
            Opinion::DoesNotFit => fits = false,
            Opinion::None => return Opinion::None,
        }
    }
    fits.into()
}
