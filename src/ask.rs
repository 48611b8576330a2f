//! `ask`: a client for the terminal, which prints an answer as it comes.

mod failure;
mod printer;
mod request;

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use tokio::{signal, task, time::Instant};
use tonic::{
    Status,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};

use self::{
    failure::{CUT, Failure},
    printer::{Figures, Printer},
    request::Authorized,
};
use crate::{
    Fold,
    config::Ask,
    proto::{
        Choice, GenerateRequest, ListModelsRequest,
        generation_service_client::GenerationServiceClient,
        model_service_client::ModelServiceClient,
    },
    telemetry::Chain,
};

/// Time to reach the adapter.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Calls carry the caller's key.
type Adapter = InterceptedService<Channel, Authorized>;

type Output = Printer<io::Stdout, anstream::Stderr>;

/// Asks what the options say, and returns the exit code that `ask --help` lists.
pub async fn run(options: &Ask) -> u8 {
    let is_terminal = io::stdout().is_terminal();
    let mut printer = Printer::new(io::stdout(), anstream::stderr(), is_terminal);
    printer.is_json = options.as_json;
    let asked = ask(options, &mut printer).await;
    asked.unwrap_or_else(|failure| {
        // Nothing can be done where the output is closed.
        let _ = printer.failure(&failure);
        failure.exit
    })
}

async fn ask(options: &Ask, printer: &mut Output) -> Result<u8, Failure> {
    let mut request = request::template(options)?;
    let adapter = or_ctrl_c(connect(options)).await?;
    if !options.prompt.is_empty() || !io::stdin().is_terminal() {
        request::turn(options, &mut request, request::question(options)?)?;
        let choice = or_ctrl_c(answer(options, &adapter, request, printer)).await?;
        return Ok(printer::cut(choice.finish_reason()).map_or(0, |_why| CUT));
    }
    while let Some(question) = or_ctrl_c(next_question()).await? {
        let n_turns = request.messages.len();
        request::turn(options, &mut request, question)?;
        // Dropping a call cancels it, which makes vLLM abort.
        match or_ctrl_c(answer(options, &adapter, request.clone(), printer)).await {
            Ok(choice) => request.messages.extend(choice.message),
            Err(failure) => {
                printer.failure(&failure)?;
                request.messages.truncate(n_turns);
            }
        }
    }
    Ok(0)
}

async fn or_ctrl_c<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::select! {
        done = work => done,
        _ = signal::ctrl_c() => Err(Failure::interrupted()),
    }
}

/// The next line that is not blank; `None` at the end of the input.
async fn next_question() -> Result<Option<String>, Failure> {
    loop {
        io::stderr().write_all(b"\n> ")?;
        // The thread may wait for a line for ever, and ends with the process.
        let line = task::spawn_blocking(|| {
            let mut line = String::new();
            io::stdin().read_line(&mut line).map(|_n| line)
        });
        let line = line.await.map_err(io::Error::other)??;
        match line.trim() {
            "" if line.is_empty() => return Ok(None),
            "" => {}
            question => return Ok(Some(question.to_owned())),
        }
    }
}

async fn connect(options: &Ask) -> Result<Adapter, Failure> {
    let (address, tls) = (&options.address, request::tls(options)?);
    let authorized = Authorized::new(options)?;
    let scheme = tls.as_ref().map_or("http", |_tls| "https");
    let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"));
    let endpoint = endpoint
        .map_err(|_fault| Failure::usage("--address", "must be HOST:PORT, as 127.0.0.1:50051"))?;
    let endpoint = match tls {
        Some(tls) => endpoint.tls_config(tls),
        None => Ok(endpoint),
    };
    let endpoint =
        endpoint.map_err(|fault| Failure::usage("--ca, --cert or --key", Chain(&fault)))?;
    let connected = endpoint.connect_timeout(CONNECT_TIMEOUT).connect().await;
    let channel = connected.map_err(|error| Failure::unreachable(address, &error))?;
    Ok(InterceptedService::new(channel, authorized))
}

/// Prints the answer as it comes, and returns it.
async fn answer(
    options: &Ask,
    adapter: &Adapter,
    request: GenerateRequest,
    printer: &mut Output,
) -> Result<Choice, Failure> {
    let refused = |status: Status| Failure::refused(&options.address, &status);
    let begun = Instant::now();
    let client = GenerationServiceClient::new(adapter.clone());
    let mut client = client.max_decoding_message_size(usize::MAX);
    let mut stream = match client.stream_generate(request).await {
        Ok(response) => response.into_inner(),
        Err(status) => return Err(with_models(adapter, refused(status)).await),
    };
    let (mut fold, mut first) = (Fold::new(), None);
    while let Some(response) = stream.message().await.map_err(refused)? {
        if let Some(event) = &response.event
            && printer.event(event)?
        {
            first.get_or_insert_with(Instant::now);
        }
        fold.push(response);
    }
    let figures = Figures {
        first: first.map(|first| first - begun),
        rest: first.map(|first| first.elapsed()).unwrap_or_default(),
    };
    let mut response = fold.finish_response();
    printer.end(&response, &figures)?;
    Ok(response.choices.pop().unwrap_or_default())
}

/// Where the model is unknown, a hint with those that are there.
async fn with_models(adapter: &Adapter, failure: Failure) -> Failure {
    if !failure.has_reason("MODEL_NOT_FOUND") {
        return failure;
    }
    let mut client = ModelServiceClient::new(adapter.clone());
    let Ok(response) = client.list_models(ListModelsRequest {}).await else {
        return failure;
    };
    let models = response.into_inner().models.into_iter();
    let names: Vec<_> = models.map(|model| model.id).collect();
    failure.with("hint", format!("--model may be {}", names.join(", ")))
}
