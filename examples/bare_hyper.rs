//! A bare HTTP/2 server of hyper, which `tests/clients/run` lets h2spec compare with the adapter.
//!
//! Serves on a free port of 127.0.0.1, which it prints, until it is killed. Every request is answered at once and
//! without a body, as the adapter answers what is not gRPC.

use std::{
    convert::Infallible,
    error::Error,
    io::{self, Write},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpListener, task::JoinSet};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(io::stdout(), "{}", listener.local_addr()?.port())?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let connection = http2::Builder::new(TokioExecutor::new());
                let socket = TokioIo::new(accepted?.0);
                connections.spawn(connection.serve_connection(socket, service_fn(answer)));
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn answer(_request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    Ok(response)
}
