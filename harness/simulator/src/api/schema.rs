//! The smallest JSON value that a JSON schema allows: what a constrained model says when nothing else is known.

use serde_json::{Map, Value, json};

/// Deepest nesting that is followed.
const DEEPEST: usize = 32;

/// A minimal instance of a schema; `null` where the schema says nothing.
pub fn instance(schema: &Value) -> Value {
    instance_of(schema, schema, 0)
}

fn instance_of(schema: &Value, root: &Value, depth: usize) -> Value {
    if depth > DEEPEST {
        return Value::Null;
    }
    let inner = |schema: &Value| instance_of(schema, root, depth + 1);
    if let Some(target) = schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|path| path.strip_prefix('#'))
    {
        return root.pointer(target).map_or(Value::Null, inner);
    }
    if let Some(value) = schema.get("const").or_else(|| schema.get("default")) {
        return value.clone();
    }
    if let Some(first) = schema
        .get("enum")
        .and_then(Value::as_array)
        .and_then(|values| values.first())
    {
        return first.clone();
    }
    for choice in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema
            .get(choice)
            .and_then(Value::as_array)
            .and_then(|list| list.first())
        {
            return inner(first);
        }
    }
    let kind = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str),
        Some(kind) => kind.as_str(),
        None if schema.get("properties").is_some() => Some("object"),
        None => None,
    };
    match kind {
        Some("object") => object(schema, inner),
        Some("array") => array(schema, inner),
        Some("string") => Value::String(string(schema)),
        Some("integer") => number(schema, true),
        Some("number") => number(schema, false),
        Some("boolean") => Value::Bool(true),
        _ => Value::Null,
    }
}

fn object(schema: &Value, inner: impl Fn(&Value) -> Value) -> Value {
    let properties = schema.get("properties").and_then(Value::as_object);
    let required = schema.get("required").and_then(Value::as_array);
    let names = required.into_iter().flatten().filter_map(Value::as_str);
    let mut fields = Map::new();
    for name in names {
        let value = properties
            .and_then(|known| known.get(name))
            .map_or(Value::Null, &inner);
        fields.insert(name.to_owned(), value);
    }
    Value::Object(fields)
}

fn array(schema: &Value, inner: impl Fn(&Value) -> Value) -> Value {
    let count = schema
        .get("minItems")
        .and_then(Value::as_u64)
        .unwrap_or(0)
        .min(1_000);
    let item = schema.get("items").map_or(Value::Null, inner);
    Value::Array((0..count).map(|_| item.clone()).collect())
}

fn string(schema: &Value) -> String {
    let length = schema
        .get("minLength")
        .and_then(Value::as_u64)
        .unwrap_or(1)
        .clamp(1, 10_000);
    (0..length).map(|_| 'a').collect()
}

fn number(schema: &Value, whole: bool) -> Value {
    let least = schema.get("minimum").and_then(Value::as_f64);
    let above = schema
        .get("exclusiveMinimum")
        .and_then(Value::as_f64)
        .map(|bound| bound + 1.0);
    let most = schema.get("maximum").and_then(Value::as_f64);
    let mut value = least.into_iter().chain(above).fold(0.0, f64::max);
    if let Some(most) = most.filter(|most| value > *most) {
        value = most;
    }
    #[expect(clippy::cast_possible_truncation, reason = "bounds of a schema; saturates")]
    if whole {
        json!(value.ceil() as i64)
    } else {
        json!(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_minimal_and_fit() {
        let schema = json!({
            "type": "object",
            "properties": {
                "city": {"type": "string", "minLength": 3}, "age": {"type": "integer", "minimum": 18},
                "kind": {"enum": ["a", "b"]}, "tags": {"type": "array", "minItems": 2, "items": {"$ref": "#/$defs/tag"}},
                "spare": {"type": "string"}
            },
            "required": ["city", "age", "kind", "tags"],
            "$defs": {"tag": {"type": "boolean"}}
        });
        assert_eq!(
            instance(&schema),
            json!({"city": "aaa", "age": 18, "kind": "a", "tags": [true, true]})
        );
    }

    #[test]
    fn endless_references_end() {
        let schema = json!({"$ref": "#"});
        assert_eq!(instance(&schema), Value::Null);
    }
}
