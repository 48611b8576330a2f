//! Asks once, and prints the whole answer.

use std::{env, error::Error, time::Duration};

use tonic::transport::Endpoint;
use vllm_grpc_adapter_client::{Client, v1::GenerateRequest};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).ok_or("ADDRESS is missing")?;
    let client = Client::connect(Endpoint::try_from(format!("http://{address}"))?, "")?;
    let request = GenerateRequest { prompt: "Say hello.".into(), max_tokens: Some(100), ..Default::default() };
    let response = client.generate(&request, Duration::from_secs(30)).await?;
    let choice = &response.choices[0];
    println!("{}", choice.message.clone().unwrap_or_default().content);
    println!("finish reason: {}", choice.finish_reason().as_str_name());
    let usage = response.usage.unwrap_or_default();
    println!("tokens: {} + {}", usage.prompt_tokens(), usage.completion_tokens());
    Ok(())
}
