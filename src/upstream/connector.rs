//! Opens sockets to the upstream, plain or with TLS.

use std::{
    io, iter,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::{
    HttpConnector,
    dns::{GaiResolver, Name},
};
use tower::Service;

/// Opens sockets. It resolves the host for each, so that a name that moves is followed.
pub(super) type Connector = HttpsConnector<HttpConnector<Resolver>>;

/// Time until a silent upstream's host is probed, and between probes.
pub(super) const TCP_KEEPALIVE: Duration = Duration::from_secs(15);

/// Time without an acknowledgement until the upstream's host counts as gone (`TCP_USER_TIMEOUT`).
///
/// Linux sends no probe while sent data waits for its acknowledgement, and would retransmit for a quarter of an hour.
/// The time also bounds how long an upstream may read nothing, though its host answers, and it replaces a number of
/// probes, so that a shorter one would lose an upstream that is busy.
#[cfg(target_os = "linux")]
pub(super) const TCP_USER_TIMEOUT: Duration = Duration::from_secs(120);

/// A connector that uses the URL alone, and no proxy of the environment.
pub(super) fn connector(tls: rustls::ClientConfig, address: Option<SocketAddr>) -> Connector {
    let system = GaiResolver::new();
    HttpsConnector::from((http(Resolver { address, system }), tls))
}

/// Resolves every name to the one address, where there is one.
#[derive(Clone, Debug)]
pub(super) struct Resolver {
    address: Option<SocketAddr>,
    system: GaiResolver,
}

impl Service<Name> for Resolver {
    type Response = Box<dyn Iterator<Item = SocketAddr> + Send>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.system.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let address = self.address;
        let mut system = self.system.clone();
        Box::pin(async move {
            let addresses: Self::Response = match address {
                Some(address) => Box::new(iter::once(address)),
                None => Box::new(system.call(name).await?),
            };
            Ok(addresses)
        })
    }
}

fn http<R>(resolver: R) -> HttpConnector<R> {
    let mut http = HttpConnector::new_with_resolver(resolver);
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_keepalive(Some(TCP_KEEPALIVE));
    http.set_keepalive_interval(Some(TCP_KEEPALIVE));
    #[cfg(target_os = "linux")]
    http.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT));
    http
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::Uri;
    use hyper_util::client::legacy::connect::dns::Name;
    use tokio::net::TcpListener;
    use tower::{ServiceExt as _, service_fn};

    use super::*;

    /// Row B26 of the fault matrix.
    #[tokio::test]
    async fn a_name_that_gets_another_address_is_followed_by_the_next_connection() {
        let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = first.local_addr().unwrap().port();
        let second = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
        let address = Arc::new(Mutex::new(first.local_addr().unwrap()));
        let resolved = Arc::clone(&address);
        let connector = http(service_fn(move |_name: Name| {
            let address = *resolved.lock().unwrap();
            async move { Ok::<_, std::io::Error>(vec![address].into_iter()) }
        }));
        let uri: Uri = format!("http://vllm.test:{port}/").parse().unwrap();
        for listener in [first, second] {
            *address.lock().unwrap() = listener.local_addr().unwrap();
            let _socket = connector.clone().oneshot(uri.clone()).await.unwrap();
            listener.accept().await.unwrap();
        }
    }

    /// Row C1: reads back what a lost host would show after two minutes.
    #[tokio::test]
    async fn a_host_that_acknowledges_nothing_is_given_up_in_two_minutes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri: Uri = format!("http://{}/", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        let opened = http(GaiResolver::new()).oneshot(uri).await.unwrap();
        let socket = socket2::SockRef::from(opened.inner());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), TCP_KEEPALIVE);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), TCP_KEEPALIVE);
        let timeout = socket.tcp_user_timeout().unwrap();
        assert_eq!(timeout, Some(Duration::from_secs(120)));
    }
}
