//! Tools that the model may call, and which of them it has to.

use std::collections::HashSet;

use crate::{
    openai::request::{Function, FunctionDefinition, FunctionName, Tool, ToolChoice},
    proto::{self, tool_choice::Choice},
};

use super::{InvalidRequest, json, request::text};

/// Most tools in a request: far above what a model can choose from.
const MAX_TOOLS: usize = 512;

/// The definitions; their names are unique.
pub(super) fn definitions(tools: Vec<proto::Tool>) -> Result<Vec<Tool>, InvalidRequest> {
    if tools.len() > MAX_TOOLS {
        let description = format!("must have at most {MAX_TOOLS} entries");
        return Err(InvalidRequest::new("tools", description));
    }
    let mut names = HashSet::new();
    for (n, tool) in tools.iter().enumerate() {
        if !names.insert(tool.name.as_str()) {
            let field = format!("tools[{n}].name");
            return Err(InvalidRequest::new(
                field,
                "is the name of another tool too",
            ));
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
    } = tool;
    if name.is_empty() {
        return Err(InvalidRequest::new("name", "must not be empty"));
    }
    let parameters = text(parameters_json)
        .map(|parameters| json::object("parameters_json", parameters, json::MAX_DEPTH))
        .transpose()?;
    Ok(Tool {
        kind: Function::Function,
        function: FunctionDefinition {
            name,
            description: text(description),
            parameters,
            strict,
        },
    })
}

/// Which of `tools` to call.
pub(super) fn choice(
    choice: proto::ToolChoice,
    tools: &[Tool],
) -> Result<ToolChoice, InvalidRequest> {
    let proto::ToolChoice { choice } = choice;
    let choice = match choice {
        None => {
            let description = "nothing is set; set `mode` or `function_name`";
            return Err(InvalidRequest::new("tool_choice", description));
        }
        Some(Choice::Mode(mode)) => ToolChoice::Mode(self::mode(mode)?),
        Some(Choice::FunctionName(name)) => named(name, tools)?,
    };
    // vLLM takes `none` without tools, and nothing else.
    if tools.is_empty() && !matches!(choice, ToolChoice::Mode("none")) {
        return Err(InvalidRequest::new("tool_choice", "needs `tools`"));
    }
    Ok(choice)
}

/// Whether the choice leaves no room for another form of the answer.
pub(super) fn forces_a_call(choice: &ToolChoice) -> bool {
    match choice {
        ToolChoice::Mode(mode) => *mode == "required",
        ToolChoice::Function { .. } => true,
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
        let description = "is not the name of one of `tools`";
        return Err(InvalidRequest::new(
            "tool_choice.function_name",
            description,
        ));
    }
    Ok(ToolChoice::Function {
        kind: Function::Function,
        function: FunctionName { name },
    })
}
