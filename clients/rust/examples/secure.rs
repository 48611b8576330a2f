//! Asks over TLS with a key; and what is said of a certificate that is not trusted.

use std::{env, error::Error, fs, time::Duration};

use tonic::Code;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use vllm_grpc_adapter_client::{AdapterError, Client, v1::GenerateRequest};

async fn ask(address: &str, tls: ClientTlsConfig, key: &str) -> Result<String, Box<dyn Error>> {
    let endpoint = Endpoint::try_from(format!("https://{address}"))?.tls_config(tls)?;
    let request = GenerateRequest { prompt: "Say hello.".into(), ..Default::default() };
    let mut response = Client::connect(endpoint, key)?.generate(&request, Duration::from_secs(30)).await?;
    Ok(response.choices.remove(0).message.unwrap_or_default().content)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let [address, ca, key] = env::args().skip(1).collect::<Vec<_>>().try_into().map_err(|_| "ADDRESS CA KEY")?;
    let trusting = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(fs::read(ca)?));
    println!("{}", ask(&address, trusting, &key).await?);
    // Trusts what the system trusts.
    let error = ask(&address, ClientTlsConfig::new().with_native_roots(), &key).await.err();
    match error.as_ref().and_then(|error| error.downcast_ref::<AdapterError>()) {
        Some(error) if error.code == Code::Unavailable => println!("not trusted: UNAVAILABLE"),
        _ => println!("{error:?}"),
    }
    Ok(())
}
