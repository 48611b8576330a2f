//! Lets the model call a tool, and answers with the tool's result.

use std::{env, error::Error, time::Duration};

use serde_json::{Value, json};
use tonic::transport::Endpoint;
use vllm_grpc_adapter_client::v1::{ChatMessage, GenerateRequest, Role, Tool};
use vllm_grpc_adapter_client::{Client, fold};

const TIMEOUT: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).ok_or("ADDRESS is missing")?;
    let client = Client::connect(Endpoint::try_from(format!("http://{address}"))?, "")?;
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let tool = Tool {
        name: "get_weather".into(),
        description: Some("The weather in a city.".into()),
        parameters_json: parameters.to_string(),
        ..Default::default()
    };
    let turn = ChatMessage { role: Role::User.into(), content: "Weather in Paris?".into(), ..Default::default() };
    let mut request = GenerateRequest { messages: vec![turn], tools: vec![tool], ..Default::default() };

    let mut stream = client.stream_generate(&request, TIMEOUT).await?;
    let mut events = Vec::new();
    while let Some(event) = stream.next().await? {
        events.push(event);
    }
    let choice = fold(events).choices.remove(0);
    println!("finish reason: {}", choice.finish_reason().as_str_name());
    let message = choice.message.unwrap_or_default();
    request.messages.push(message.clone());
    for call in message.tool_calls {
        let arguments: Value = serde_json::from_str(&call.arguments)?;
        let city = arguments["city"].as_str().unwrap_or_default();
        println!("{}: {city}", call.name);
        request.messages.push(ChatMessage {
            role: Role::Tool.into(),
            tool_call_id: call.id,
            content: format!("Sunny in {city}."),
            ..Default::default()
        });
    }
    let response = client.generate(&request, TIMEOUT).await?;
    println!("{}", response.choices[0].message.clone().unwrap_or_default().content);
    Ok(())
}
