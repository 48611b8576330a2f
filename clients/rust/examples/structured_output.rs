//! Asks for JSON that fits a schema.

use std::{env, error::Error, time::Duration};

use serde_json::{Value, json};
use tonic::transport::Endpoint;
use vllm_grpc_adapter_client::Client;
use vllm_grpc_adapter_client::v1::structured_output::Constraint;
use vllm_grpc_adapter_client::v1::{FinishReason, GenerateRequest, StructuredOutput};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).ok_or("ADDRESS is missing")?;
    let client = Client::connect(Endpoint::try_from(format!("http://{address}"))?, "")?;
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let form = StructuredOutput { constraint: Some(Constraint::JsonSchema(schema.to_string())) };
    let prompt = "A city, as JSON.".into();
    let request = GenerateRequest { prompt, structured_output: Some(form), ..Default::default() };
    let choice = client.generate(&request, Duration::from_secs(30)).await?.choices.remove(0);
    // Only a whole answer holds whole JSON.
    if choice.finish_reason() != FinishReason::Stop {
        return Err(format!("cut off: {}", choice.finish_reason_raw).into());
    }
    let answer: Value = serde_json::from_str(&choice.message.unwrap_or_default().content)?;
    println!("city: {}", answer["city"].as_str().unwrap_or_default());
    Ok(())
}
