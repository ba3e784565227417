//! What a check can come to at most: how often a schema may look at one value of the arguments.
//!
//! Schemas branch (`allOf`, `$ref` …), and branches that lead to the same place look at the same value
//! again, so a schema of twenty lines can ask for more looks than there is time. Counted is every way
//! from the root: those that stay at a value add up, those that descend count for the value below. Ways
//! into different `properties` never meet, and the dearest counts. A way that comes back to where it was
//! without having descended would never end.

use std::collections::HashMap;

use serde_json::{Map, Value};
use thiserror::Error;

/// Arguments that are nested more deeply are not checked.
pub(super) const MAX_DEPTH: usize = 32;

/// Looks at one value.
const MAX_COST: usize = 5_000;

/// Steps of one way, which is how deeply whoever follows it recurses.
const MAX_STEPS: usize = 256;

/// Why a schema is not checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum CostError {
    #[error("it does not describe an object")]
    NotObject,
    #[error("it refers to something outside of itself, or by an anchor")]
    Reference,
    #[error("it refers to nothing")]
    Dangling,
    #[error("it comes back to itself")]
    Endless,
    #[error("it branches too much")]
    TooDear,
    #[error("its ways are too long")]
    TooLong,
}

/// How often `schema` may look at one value.
pub(super) fn of(schema: &Value) -> Result<usize, CostError> {
    let is_object = schema.get("type").is_some_and(|kind| *kind == "object");
    if !is_object {
        // MCP: the arguments of a tool are an object, and its schema says so.
        return Err(CostError::NotObject);
    }
    Survey { root: schema, known: HashMap::new() }.cost(schema, MAX_DEPTH, 0)
}

struct Survey<'a> {
    root: &'a Value,
    /// By schema and depth that is left; `None` while it is being worked out.
    known: HashMap<(usize, usize), Option<usize>>,
}

impl<'a> Survey<'a> {
    fn cost(&mut self, schema: &'a Value, depth: usize, steps: usize) -> Result<usize, CostError> {
        let Value::Object(members) = schema else { return Ok(1) };
        let key = (std::ptr::from_ref(schema).addr(), depth);
        match self.known.get(&key) {
            Some(Some(cost)) => return Ok(*cost),
            Some(None) => return Err(CostError::Endless),
            None if steps >= MAX_STEPS => return Err(CostError::TooLong),
            None => self.known.insert(key, None),
        };
        // Another base for references, unless it is the whole schema's.
        let is_base = ["$id", "id"].iter().any(|id| members.get(*id).is_some_and(Value::is_string));
        if is_base && !std::ptr::eq(schema, self.root) {
            return Err(CostError::Reference);
        }
        let mut cost = 1;
        for (keyword, value) in members {
            cost += self.of_keyword(keyword, value, depth, steps + 1)?;
        }
        if members.keys().any(|keyword| keyword.starts_with("unevaluated")) {
            // Everything is looked at once more to tell what was evaluated.
            cost *= 2;
        }
        if cost > MAX_COST {
            return Err(CostError::TooDear);
        }
        self.known.insert(key, Some(cost));
        Ok(cost)
    }

    fn of_keyword(
        &mut self,
        keyword: &str,
        value: &'a Value,
        depth: usize,
        steps: usize,
    ) -> Result<usize, CostError> {
        match (keyword, value) {
            ("$ref", Value::String(reference)) => {
                let target = self.target(reference)?;
                self.cost(target, depth, steps)
            }
            ("$ref" | "$dynamicRef" | "$recursiveRef", _) => Err(CostError::Reference),
            ("allOf" | "anyOf" | "oneOf", Value::Array(branches)) => {
                self.sum(branches, depth, steps)
            }
            ("not" | "if" | "then" | "else" | "propertyNames", _) => self.cost(value, depth, steps),
            ("dependentSchemas" | "dependencies", Value::Object(branches)) => {
                self.sum(branches.values(), depth, steps)
            }
            ("properties", Value::Object(properties)) => self.dearest(properties, depth, steps),
            ("patternProperties", Value::Object(properties)) => {
                self.below(properties.values(), depth, steps)
            }
            ("items" | "prefixItems", Value::Array(items)) => self.below(items, depth, steps),
            (
                "items"
                | "additionalItems"
                | "additionalProperties"
                | "contains"
                | "unevaluatedItems"
                | "unevaluatedProperties",
                _,
            ) => self.below([value], depth, steps),
            // Reached by references alone.
            ("$defs" | "definitions", _) => Ok(0),
            _ => Ok(size(value)),
        }
    }

    fn sum(
        &mut self,
        branches: impl IntoIterator<Item = &'a Value>,
        depth: usize,
        steps: usize,
    ) -> Result<usize, CostError> {
        let costs = branches.into_iter().map(|branch| self.cost(branch, depth, steps));
        costs.sum()
    }

    /// Schemas of values within the value.
    fn below(
        &mut self,
        branches: impl IntoIterator<Item = &'a Value>,
        depth: usize,
        steps: usize,
    ) -> Result<usize, CostError> {
        match depth.checked_sub(1) {
            Some(depth) => self.sum(branches, depth, steps),
            None => Ok(0),
        }
    }

    /// A property is looked up in all, and checked by one.
    fn dearest(
        &mut self,
        properties: &'a Map<String, Value>,
        depth: usize,
        steps: usize,
    ) -> Result<usize, CostError> {
        let mut dearest = 0;
        for property in properties.values() {
            dearest = dearest.max(self.below([property], depth, steps)?);
        }
        Ok(dearest + properties.len())
    }

    /// What a reference within the schema leads to (RFC 6901).
    fn target(&self, reference: &str) -> Result<&'a Value, CostError> {
        let pointer = reference.strip_prefix('#').ok_or(CostError::Reference)?;
        // An anchor, or an escape of URIs that some would read otherwise.
        if !(pointer.is_empty() || pointer.starts_with('/')) || pointer.contains('%') {
            return Err(CostError::Reference);
        }
        self.root.pointer(pointer).ok_or(CostError::Dangling)
    }
}

/// How many patterns stand in a schema, at most.
pub(super) fn patterns(schema: &Value) -> usize {
    match schema {
        Value::Array(elements) => elements.iter().map(patterns).sum(),
        Value::Object(members) => {
            let own = members.iter().map(|(keyword, value)| match (&**keyword, value) {
                ("pattern", _) => 1,
                ("patternProperties", Value::Object(patterns)) => patterns.len(),
                _ => 0,
            });
            own.sum::<usize>() + members.values().map(patterns).sum::<usize>()
        }
        _ => 0,
    }
}

/// How many values stand in what a keyword says.
fn size(value: &Value) -> usize {
    match value {
        Value::Array(elements) => elements.iter().map(size).sum::<usize>() + 1,
        Value::Object(members) => members.values().map(size).sum::<usize>() + 1,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of_object(mut more: Value) -> Result<usize, CostError> {
        more["type"] = "object".into();
        of(&more)
    }

    #[test]
    fn ways_that_stay_add_up_and_the_dearest_property_counts() {
        let leaf = json!({"type": "string"});
        let two = json!({"anyOf": [leaf, leaf]});
        assert_eq!(of_object(json!({})), Ok(2));
        assert_eq!(of_object(json!({"properties": {"a": leaf}})), Ok(2 + 1 + 2));
        assert_eq!(of_object(json!({"properties": {"a": leaf, "b": two}})), Ok(2 + 2 + 5));
        assert_eq!(of_object(json!({"additionalProperties": two})), Ok(2 + 5));
        assert_eq!(
            of_object(json!({"$defs": {"x": two}, "not": {"$ref": "#/$defs/x"}})),
            Ok(2 + 6)
        );
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes minutes")]
    fn what_would_not_end_in_time_is_not_begun() {
        // Each doubles the one before.
        let mut defs = json!({"d0": {"type": "string"}});
        for level in 1..40 {
            let reference = json!({"$ref": format!("#/$defs/d{}", level - 1)});
            defs[format!("d{level}")] = json!({"allOf": [reference, reference]});
        }
        let doubling = json!({"$defs": defs, "properties": {"a": {"$ref": "#/$defs/d39"}}});
        assert_eq!(of_object(doubling), Err(CostError::TooDear));
        // The same, by looking twice at each level of the arguments.
        let below = json!({"properties": {"a": {"$ref": "#/$defs/n"}}});
        let twice =
            json!({"$defs": {"n": {"allOf": [below, below]}}, "not": {"$ref": "#/$defs/n"}});
        assert_eq!(of_object(twice), Err(CostError::TooDear));
        assert_eq!(of_object(json!({"$ref": "#"})), Err(CostError::Endless));
        let round = json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"not": {"$ref": "#/$defs/a"}}}, "not": {"$ref": "#/$defs/a"}});
        assert_eq!(of_object(round), Err(CostError::Endless));
        let mut chain = json!({"c0": {}});
        for link in 1..5000 {
            chain[format!("c{link}")] = json!({"$ref": format!("#/$defs/c{}", link - 1)});
        }
        let chain = json!({"$defs": chain, "not": {"$ref": "#/$defs/c4999"}});
        assert_eq!(of_object(chain), Err(CostError::TooLong));
    }

    #[test]
    fn trees_of_any_depth_are_checked() {
        let node = json!({"type": "object", "properties": {
            "value": {"type": "string"},
            "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
        }});
        let tree =
            json!({"$defs": {"node": node}, "properties": {"root": {"$ref": "#/$defs/node"}}});
        assert!(of_object(tree).unwrap() < 200);
    }

    #[test]
    fn references_stay_within() {
        for reference in [
            "http://example.com/x",
            "file:///etc/passwd",
            "other.json",
            "#anchor",
            "#/%24defs/x",
            "//x",
        ] {
            let refused = of_object(json!({"not": {"$ref": reference}}));
            assert_eq!(refused, Err(CostError::Reference), "{reference}");
        }
        assert_eq!(of_object(json!({"not": {"$ref": "#/$defs/x"}})), Err(CostError::Dangling));
        let other_base = json!({"properties": {"a": {"$id": "http://example.com/x"}}});
        assert_eq!(of_object(other_base), Err(CostError::Reference));
        assert_eq!(of_object(json!({"not": {"$dynamicRef": "#x"}})), Err(CostError::Reference));
        assert_eq!(of(&json!({"type": "string"})), Err(CostError::NotObject));
        assert_eq!(of(&json!({})), Err(CostError::NotObject));
    }
}
