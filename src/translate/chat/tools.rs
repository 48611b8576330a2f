//! Tools that the model may call, and which of them it must call.

use std::collections::HashSet;

use crate::{
    openai::request::{FunctionDefinition, FunctionName, NamedFunction, Tool, ToolChoice},
    proto::{self, tool_choice::Choice},
    translate::{
        invalid::InvalidRequest,
        json,
        sampling::{at_most, text},
    },
};

/// Most tools in a request: far above what a model can choose from.
const MAX_TOOLS: usize = 512;

/// The definitions; their names are unique.
pub(in crate::translate) fn definitions(
    tools: Vec<proto::Tool>,
) -> Result<Vec<Tool>, InvalidRequest> {
    let tools = at_most("tools", tools, MAX_TOOLS)?;
    let mut names = HashSet::new();
    for (n, tool) in tools.iter().enumerate() {
        if !names.insert(tool.name.as_str()) {
            let field = format!("tools[{n}].name");
            let description = "is already the name of another tool";
            return Err(InvalidRequest::new(field, description));
        }
    }
    let definition = |(n, tool)| {
        let field = format!("tools[{n}]");
        definition(tool).map_err(|invalid: InvalidRequest| invalid.within(&field))
    };
    tools.into_iter().enumerate().map(definition).collect()
}

fn definition(tool: proto::Tool) -> Result<Tool, InvalidRequest> {
    let proto::Tool {
        name,
        description,
        parameters_json,
        strict,
        defer_loading,
    } = tool;
    if name.is_empty() {
        return Err(InvalidRequest::new("name", "must not be empty"));
    }
    let parameters = text(parameters_json)
        .map(|parameters| json::object("parameters_json", parameters, json::MAX_DEPTH))
        .transpose()?;
    Ok(Tool {
        function: FunctionDefinition {
            name,
            description,
            parameters,
            strict,
            defer_loading,
        },
    })
}

/// Which of `tools` to call.
pub(in crate::translate) fn choice(
    choice: proto::ToolChoice,
    tools: &[Tool],
) -> Result<ToolChoice, InvalidRequest> {
    let proto::ToolChoice { choice } = choice;
    let choice = match choice {
        None => {
            let description = "must have `mode` or `function_name` set";
            return Err(InvalidRequest::new("tool_choice", description));
        }
        Some(Choice::Mode(mode)) => ToolChoice::Mode(self::mode(mode)?),
        Some(Choice::FunctionName(name)) => named(name, tools)?,
    };
    // vLLM takes `none` without tools, and nothing else.
    if tools.is_empty() && !matches!(choice, ToolChoice::Mode("none")) {
        return Err(InvalidRequest::new("tool_choice", "requires `tools`"));
    }
    Ok(choice)
}

/// Whether the model must make a call.
pub(in crate::translate) fn forces_a_call(choice: &ToolChoice) -> bool {
    match choice {
        ToolChoice::Mode(mode) => *mode == "required",
        ToolChoice::Function(_) => true,
    }
}

fn mode(mode: i32) -> Result<&'static str, InvalidRequest> {
    match proto::ToolMode::try_from(mode) {
        Ok(proto::ToolMode::None) => Ok("none"),
        Ok(proto::ToolMode::Auto) => Ok("auto"),
        Ok(proto::ToolMode::Required) => Ok("required"),
        Ok(proto::ToolMode::Unspecified) | Err(_) => {
            let description = "must be TOOL_MODE_NONE, TOOL_MODE_AUTO or TOOL_MODE_REQUIRED";
            Err(InvalidRequest::new("tool_choice.mode", description))
        }
    }
}

fn named(name: String, tools: &[Tool]) -> Result<ToolChoice, InvalidRequest> {
    if !tools.iter().any(|tool| tool.function.name == name) {
        let field = "tool_choice.function_name";
        let description = "is not the name of one of `tools`";
        return Err(InvalidRequest::new(field, description));
    }
    let function = FunctionName { name };
    Ok(ToolChoice::Function(NamedFunction { function }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn tool(name: &str) -> proto::Tool {
        proto::Tool {
            name: name.to_owned(),
            ..proto::Tool::default()
        }
    }

    fn with_parameters(parameters: &str) -> proto::Tool {
        proto::Tool {
            parameters_json: parameters.to_owned(),
            ..tool("f")
        }
    }

    fn to_call(choice: Choice) -> proto::ToolChoice {
        proto::ToolChoice {
            choice: Some(choice),
        }
    }

    #[track_caller]
    fn check(tool: proto::Tool, expected: Value) {
        let definitions = definitions(vec![tool]).unwrap();
        let function = json!([{"type": "function", "function": expected}]);
        assert_eq!(serde_json::to_value(definitions).unwrap(), function);
    }

    #[track_caller]
    fn refused<T: std::fmt::Debug>(result: Result<T, InvalidRequest>, field: &str, says: &str) {
        let invalid = result.unwrap_err();
        let violation = &invalid.violations()[0];
        assert_eq!(violation.field, field);
        assert!(violation.description.contains(says), "{invalid}");
    }

    #[test]
    fn a_definition_has_what_is_set() {
        check(tool("f"), json!({"name": "f"}));
        let undescribed = proto::Tool {
            description: Some(String::new()),
            ..tool("f")
        };
        check(undescribed, json!({"name": "f", "description": ""}));
        let whole = proto::Tool {
            description: Some("Adds.".to_owned()),
            strict: Some(false),
            ..with_parameters("{}")
        };
        check(
            whole,
            json!({"name": "f", "description": "Adds.", "parameters": {}, "strict": false}),
        );
    }

    #[test]
    fn parameters_keep_their_key_order_and_numbers() {
        let parameters = r#"{"type":"object","properties":{"z":{},"a":{}},"maximum":1.50e300,"minimum":12345678901234567890}"#;
        let definitions = definitions(vec![with_parameters(parameters)]).unwrap();
        let body = serde_json::to_string(&definitions).unwrap();
        assert!(body.contains(parameters), "{body}");
    }

    #[test]
    fn a_definition_that_is_none_is_refused() {
        let named_twice = vec![tool("f"), tool("g"), tool("f")];
        let of_list = vec![with_parameters("[]")];
        let cut = vec![with_parameters("{")];
        let endless = vec![with_parameters(&format!(r#"{{"a":{}}}"#, "1".repeat(4301)))];
        for (tools, field, says) in [
            (named_twice, "tools[2].name", "another tool"),
            (vec![tool("f"), tool("")], "tools[1].name", "empty"),
            (of_list, "tools[0].parameters_json", "object"),
            (cut, "tools[0].parameters_json", "not JSON"),
            (endless, "tools[0].parameters_json", "4300 digits"),
            (vec![tool(""); MAX_TOOLS + 1], "tools", "at most 512"),
        ] {
            refused(definitions(tools), field, says);
        }
    }

    #[test]
    fn a_choice_is_a_word_or_a_function() {
        let tools = definitions(vec![tool("f")]).unwrap();
        let mode = |mode: proto::ToolMode| Choice::Mode(mode.into());
        for (choice, expected, forces) in [
            (mode(proto::ToolMode::None), json!("none"), false),
            (mode(proto::ToolMode::Auto), json!("auto"), false),
            (mode(proto::ToolMode::Required), json!("required"), true),
            (
                Choice::FunctionName("f".to_owned()),
                json!({"type": "function", "function": {"name": "f"}}),
                true,
            ),
        ] {
            let choice = super::choice(to_call(choice), &tools).unwrap();
            assert_eq!(forces_a_call(&choice), forces, "{choice:?}");
            assert_eq!(serde_json::to_value(choice).unwrap(), expected);
        }
    }

    #[test]
    fn a_choice_without_meaning_is_refused() {
        let tools = definitions(vec![tool("f")]).unwrap();
        let function = |name: &str| Choice::FunctionName(name.to_owned());
        let named = "tool_choice.function_name";
        for (choice, tools, field, says) in [
            (Choice::Mode(0), &tools[..], "tool_choice.mode", "must be"),
            (Choice::Mode(99), &tools, "tool_choice.mode", "must be"),
            (function("g"), &tools, named, "not the name"),
            (function(""), &tools, named, "not the name"),
            (Choice::Mode(2), &[], "tool_choice", "requires `tools`"),
            (Choice::Mode(3), &[], "tool_choice", "requires `tools`"),
            (function("f"), &[], named, "not the name"),
        ] {
            refused(super::choice(to_call(choice), tools), field, says);
        }
        let nothing = super::choice(proto::ToolChoice::default(), &tools);
        refused(nothing, "tool_choice", "must have");
    }

    #[test]
    fn no_call_may_be_asked_for_without_tools() {
        let none = to_call(Choice::Mode(proto::ToolMode::None.into()));
        assert!(choice(none, &[]).is_ok());
    }
}
