//! Prints an answer while it is made, and then what is known of the whole.

use std::io::{self, Write};
use std::{env, error::Error, time::Duration};

use tonic::transport::Endpoint;
use vllm_grpc_adapter_client::v1::{GenerateRequest, stream_generate_response::Event};
use vllm_grpc_adapter_client::{Client, fold};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).ok_or("ADDRESS is missing")?;
    let client = Client::connect(Endpoint::try_from(format!("http://{address}"))?, "")?;
    let request = GenerateRequest { prompt: "Think about 2+2.".into(), max_tokens: Some(100), ..Default::default() };
    let mut stream = client.stream_generate(&request, Duration::from_secs(30)).await?;
    let mut events = Vec::new();
    while let Some(event) = stream.next().await? {
        if let Some(Event::Content(delta)) = &event.event {
            print!("{}", delta.text);
            io::stdout().flush()?;
        }
        events.push(event);
    }
    println!();
    let response = fold(events);
    let choice = &response.choices[0];
    println!("reasoning: {}", choice.message.clone().unwrap_or_default().reasoning);
    println!("finish reason: {}", choice.finish_reason().as_str_name());
    let usage = response.usage.unwrap_or_default();
    println!("tokens: {} + {}", usage.prompt_tokens(), usage.completion_tokens());
    Ok(())
}
