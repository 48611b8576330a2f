//! What a failed call says: which field is wrong, how long to wait, what came before, and that a deadline has passed.

use std::{env, error::Error, time::Duration};

use tonic::{Code, transport::Endpoint};
use vllm_grpc_adapter_client::{AdapterError, Client, fold, v1::GenerateRequest};

const TIMEOUT: Duration = Duration::from_secs(30);

/// As the specification has it; tonic prints its own.
fn name(code: Code) -> &'static str {
    match code {
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::Unavailable => "UNAVAILABLE",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        _ => "another",
    }
}

fn ask(prompt: &str) -> GenerateRequest {
    GenerateRequest { prompt: prompt.into(), ..Default::default() }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).ok_or("ADDRESS is missing")?;
    let client = Client::connect(Endpoint::try_from(format!("http://{address}"))?, "")?;

    let request = GenerateRequest { max_tokens: Some(0), ..ask("Say hello.") };
    if let Err(error) = client.generate(&request, TIMEOUT).await {
        println!("wrong field: {} {} {}", name(error.code), error.reason, error.field);
    }

    // The client tries twice more, after as long as the adapter says.
    if let Err(error) = client.generate(&ask("Fail with 503."), TIMEOUT).await {
        let delay = error.retry_delay.unwrap_or_default().as_secs_f64();
        println!("overloaded: {} {} {delay:.1}", name(error.code), error.reason);
    }

    let mut stream = client.stream_generate(&ask("Fail with abort."), TIMEOUT).await?;
    let mut events = Vec::new();
    let error: AdapterError = loop {
        match stream.next().await {
            Ok(Some(event)) => events.push(event),
            Ok(None) => return Err("the call did not fail".into()),
            Err(error) => break error,
        }
    };
    let content = fold(events).choices.remove(0).message.unwrap_or_default().content;
    println!("cut off: {} {} after {content}", name(error.code), error.reason);

    if let Err(error) = client.generate(&ask("Wait."), Duration::from_millis(500)).await {
        println!("too late: {}", name(error.code));
    }
    Ok(())
}
