//! The command line of `ask`.

use std::{env, fs, path::PathBuf};

use secrecy::SecretString;

use super::check::api_key;

/// Where an adapter listens unless it is told otherwise.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:50051";

/// Holds the caller's key.
const KEY_VARIABLE: &str = "VLLM_GRPC_ADAPTER_KEY";

/// What to ask of an adapter, and how to print the answer.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
The answer goes to standard output; reasoning, figures and errors go to standard error.

Exit codes:
    0  the answer is whole
    1  the adapter or its vLLM failed
    2  the answer was cut off, as by --max-tokens
   64  the request is wrong: a flag, a file, the model's name, a value that is out of range
   69  no adapter answers at the address
   75  no answer at this time: no vLLM there, overload, a limit of time
  130  Ctrl-C")]
pub struct Ask {
    /// What to ask; several words need no quotes. Without it, standard input is the question, and on a terminal a
    /// conversation begins, which Ctrl-D ends.
    pub prompt: Vec<String>,
    /// Address and port of the adapter.
    #[arg(long, value_name = "ADDRESS", default_value = DEFAULT_ADDRESS)]
    pub address: String,
    /// PEM file of the roots that the adapter's certificate is checked against. It turns TLS on; the certificate must
    /// have the name in --address.
    #[arg(id = "ask-ca", long = "ca", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// PEM file of this client's certificate.
    #[arg(id = "ask-cert", long = "cert", value_name = "FILE", requires_all = ["ask-ca", "ask-key"])]
    pub cert: Option<PathBuf>,
    /// PEM file of the certificate's private key.
    #[arg(
        id = "ask-key",
        long = "key",
        value_name = "FILE",
        requires = "ask-cert"
    )]
    pub key: Option<PathBuf>,
    /// File of the caller's key, where the adapter asks for one. Unset: the variable `VLLM_GRPC_ADAPTER_KEY`, or none.
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Model to ask. Unset: the adapter's default.
    #[arg(
        long,
        value_name = "MODEL",
        default_value = "",
        hide_default_value = true
    )]
    pub model: String,
    /// Instructions before the question.
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// JSON Schema that the answer must fit.
    #[arg(long, value_name = "FILE")]
    pub json_schema: Option<PathBuf>,
    /// Picture to ask about, for models that see. May be repeated.
    #[arg(long, value_name = "FILE")]
    pub image: Vec<PathBuf>,
    /// Tools that the model may call: a JSON list, as the OpenAI SDK takes it. Calls are printed and not made.
    #[arg(long, value_name = "FILE")]
    pub tools: Option<PathBuf>,
    /// Randomness of the answer, 0 to 2.
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub temperature: Option<f64>,
    /// Most tokens of the answer, reasoning included.
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub max_tokens: Option<i32>,
    /// Print one JSON object in place of text, once the answer is whole: the answer, or `error`.
    #[arg(long = "json")]
    pub as_json: bool,
}

impl Ask {
    /// The caller's key, of the file or the variable; an empty one counts as none.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, and a key that a header cannot carry.
    #[expect(
        clippy::disallowed_methods,
        reason = "`config` is what reads the environment"
    )]
    pub fn caller_key(&self) -> Result<Option<SecretString>, String> {
        let key = match &self.key_file {
            Some(path) => Some(fs::read_to_string(path).map_err(|error| error.to_string())?),
            None => env::var(KEY_VARIABLE).ok(),
        };
        api_key(key.map(SecretString::from))
    }
}
