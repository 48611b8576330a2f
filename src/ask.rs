//! `ask`: a client for the terminal, which prints an answer as it comes.

mod failure;
mod printer;
mod request;

use std::{
    io::{self, IsTerminal},
    pin::pin,
    time::Duration,
};

use tokio::{signal, task, time::Instant};
use tonic::transport::{Channel, Endpoint};

use self::{
    failure::{EXIT_CUT, Failure},
    printer::{Figures, Printer},
};
use crate::{
    Fold,
    config::Ask,
    proto::{
        ChatMessage, GenerateRequest, ListModelsRequest,
        generation_service_client::GenerationServiceClient,
        model_service_client::ModelServiceClient, stream_generate_response::Event,
    },
};

/// Time to reach the adapter.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

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

type Output = Printer<io::Stdout, anstream::Stderr>;

async fn ask(options: &Ask, printer: &mut Output) -> Result<u8, Failure> {
    let mut request = request::template(options)?;
    let mut client = Client::connect(&options.address).await?;
    let is_conversation = options.prompt.is_empty() && io::stdin().is_terminal();
    if !is_conversation {
        let question = request::question(options)?;
        request::turn(options, &mut request, question)?;
        let (_message, exit) = client.answer(request, printer).await?;
        return Ok(exit);
    }
    printer.greet(&options.address)?;
    while let Some(question) = next_question(printer).await? {
        let n_turns = request.messages.len();
        request::turn(options, &mut request, question)?;
        match client.answer(request.clone(), printer).await {
            Ok((message, _exit)) => request.messages.push(message),
            Err(failure) => {
                printer.failure(&failure)?;
                request.messages.truncate(n_turns);
            }
        }
    }
    printer.part()?;
    Ok(0)
}

/// The next line that is not blank; `None` at the end of the input.
async fn next_question(printer: &mut Output) -> Result<Option<String>, Failure> {
    loop {
        printer.invite()?;
        // The thread may wait for a line for ever, and ends with the process.
        let line = task::spawn_blocking(|| {
            let mut line = String::new();
            io::stdin().read_line(&mut line).map(|_n| line)
        });
        let line = tokio::select! {
            line = line => line.map_err(io::Error::other)??,
            _ = signal::ctrl_c() => return Err(Failure::interrupted()),
        };
        match line.trim() {
            "" if line.is_empty() => return Ok(None),
            "" => {}
            question => return Ok(Some(question.to_owned())),
        }
    }
}

/// An adapter to ask.
struct Client {
    channel: Channel,
    address: String,
}

// === impl Client ===

impl Client {
    async fn connect(address: &str) -> Result<Self, Failure> {
        let url = match address.contains("://") {
            true => address.to_owned(),
            false => format!("http://{address}"),
        };
        let endpoint = Endpoint::from_shared(url)
            .ok()
            .filter(|endpoint| endpoint.uri().scheme_str() == Some("http"))
            .ok_or_else(|| Failure::usage("--address", "must be HOST:PORT, as 127.0.0.1:50051"))?;
        let endpoint = endpoint.connect_timeout(CONNECT_TIMEOUT);
        let unreachable = |error| Failure::unreachable(address, &error);
        let channel = tokio::select! {
            connected = endpoint.connect() => connected.map_err(unreachable)?,
            _ = signal::ctrl_c() => return Err(Failure::interrupted()),
        };
        Ok(Self {
            channel,
            address: address.to_owned(),
        })
    }

    /// Prints the answer as it comes, and returns the message and the exit code.
    async fn answer(
        &mut self,
        request: GenerateRequest,
        printer: &mut Output,
    ) -> Result<(ChatMessage, u8), Failure> {
        let answer = pin!(self.stream(request, printer));
        tokio::select! {
            answer = answer => answer,
            // Dropping the call cancels it, which makes vLLM abort.
            _ = signal::ctrl_c() => Err(Failure::interrupted()),
        }
    }

    async fn stream(
        &self,
        request: GenerateRequest,
        printer: &mut Output,
    ) -> Result<(ChatMessage, u8), Failure> {
        let begun = Instant::now();
        let mut client = GenerationServiceClient::new(self.channel.clone())
            .max_decoding_message_size(usize::MAX);
        let mut stream = match client.stream_generate(request).await {
            Ok(response) => response.into_inner(),
            Err(status) => {
                let failure = Failure::refused(&self.address, &status);
                return Err(self.with_models(failure).await);
            }
        };
        let (mut fold, mut first) = (Fold::new(), None);
        let refused = |status| Failure::refused(&self.address, &status);
        while let Some(response) = stream.message().await.map_err(refused)? {
            if let Some(Event::Content(_) | Event::Reasoning(_) | Event::ToolCall(_)) =
                response.event
            {
                first.get_or_insert_with(Instant::now);
            }
            printer.event(response.event.as_ref())?;
            fold.push(response);
        }
        let figures = Figures {
            first: first.map(|first| first - begun),
            rest: first.map(|first| first.elapsed()).unwrap_or_default(),
        };
        let mut response = fold.finish_response();
        printer.end(&response, &figures)?;
        let choice = response.choices.pop().unwrap_or_default();
        let exit = match printer::cut(choice.finish_reason()) {
            None => 0,
            Some(_) => EXIT_CUT,
        };
        Ok((choice.message.unwrap_or_default(), exit))
    }

    /// Where the model is unknown, a hint with those that are there.
    async fn with_models(&self, mut failure: Failure) -> Failure {
        if !failure.has_reason("MODEL_NOT_FOUND") {
            return failure;
        }
        let mut client = ModelServiceClient::new(self.channel.clone());
        if let Ok(response) = client.list_models(ListModelsRequest {}).await {
            let models = response.into_inner().models.into_iter();
            let names: Vec<_> = models.map(|model| model.id).collect();
            failure.hint = format!("--model may be {}", names.join(", "));
        }
        failure
    }
}
