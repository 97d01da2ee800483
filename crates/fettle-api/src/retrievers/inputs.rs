//! Inputs of a search: `{{INPUT.name}}` in stages, filled in.
//!
//! Owns this one form of template. There is no expression in it: what cannot be filled in is refused.

use serde_json::{Map, Value};

/// The value with `{{INPUT.name}}` and `{{inputs.name}}` filled in.
pub(super) fn filled(value: &Value, inputs: &Map<String, Value>) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => filled_text(text, inputs)?,
        Value::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| filled(item, inputs))
                .collect::<Result<_, _>>()?,
        ),
        Value::Object(map) => {
            let fill = |(key, value): (&String, &Value)| {
                Ok::<_, String>((key.clone(), filled(value, inputs)?))
            };
            Value::Object(map.iter().map(fill).collect::<Result<_, _>>()?)
        }
        other => other.clone(),
    })
}

fn filled_text(text: &str, inputs: &Map<String, Value>) -> Result<Value, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((inside, tail)) = after.split_once("}}") else {
            break;
        };
        let path = inside.trim();
        let name = ["INPUT.", "inputs.", "INPUTS.", "input."]
            .iter()
            .find_map(|prefix| path.strip_prefix(prefix));
        let name = name.ok_or_else(|| {
            format!("`{{{{{path}}}}}` cannot be filled in; only {{{{INPUT.name}}}} can")
        })?;
        let value = inputs
            .get(name)
            .ok_or_else(|| format!("`inputs` has no `{name}`"))?;
        if before.is_empty() && out.is_empty() && tail.is_empty() {
            return Ok(value.clone());
        }
        out.push_str(before);
        match value {
            Value::String(text) => out.push_str(text),
            other => out.push_str(&other.to_string()),
        }
        rest = tail;
    }
    out.push_str(rest);
    Ok(Value::String(out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(text: &str, expected: Result<Value, &str>) {
        let inputs = json!({"q": "red", "n": 3});
        let given = filled(&json!([text]), inputs.as_object().unwrap());
        match expected {
            Ok(value) => assert_eq!(given.unwrap(), json!([value])),
            Err(words) => assert!(given.unwrap_err().contains(words), "{text}"),
        }
    }

    #[test]
    fn inputs_stand_alone_or_within_texts() {
        check("{{INPUT.n}}", Ok(json!(3)));
        check("a {{ inputs.q }}, {{INPUT.n}}!", Ok(json!("a red, 3!")));
        check("no {{ end", Ok(json!("no {{ end")));
        check("{{INPUT.x}}", Err("no `x`"));
        check("{{DOC.q}}", Err("cannot be filled"));
    }
}
