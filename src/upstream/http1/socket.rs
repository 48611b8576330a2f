//! The socket of a connection, plain or with TLS.

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
    vec,
};

use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::legacy::connect::{
        HttpConnector,
        dns::{GaiResolver, Name},
    },
    rt::TokioIo,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tower::{ServiceExt as _, util::BoxCloneSyncService};

use super::BoxError;
use crate::coalesce::Coalesced;

/// Opens sockets.
#[derive(Clone, Debug)]
pub(in crate::upstream) struct Connector(HttpsConnector<HttpConnector<Resolver>>);

/// Tells the addresses of a host, and is asked for each connection, so that a name that moves is followed.
type Resolver = BoxCloneSyncService<Name, vec::IntoIter<SocketAddr>, io::Error>;

/// An open socket.
pub(super) enum Socket {
    Plain(Coalesced),
    /// Boxed, since it is large and plain sockets are many.
    Tls(Box<TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>>),
}

/// Time until a silent upstream's host is probed, and between probes.
const TCP_KEEPALIVE: Duration = Duration::from_secs(15);

/// Time without an acknowledgement until the upstream's host counts as gone (`TCP_USER_TIMEOUT`).
///
/// Linux sends no probe while sent data waits for its acknowledgement, and would go on with that data for a quarter of an
/// hour. The time also bounds how long an upstream may read nothing, though its host answers, and it stands in for a
/// number of probes, so that a shorter one would lose an upstream that is busy.
#[cfg(target_os = "linux")]
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(120);

/// The protocol in the handshake of TLS (RFC 7301).
const HTTP_1_1: &[u8] = b"http/1.1";

/// A connector that goes by the URL alone: no proxy of the environment, and roots of trust only where TLS needs them.
pub(in crate::upstream) fn connector(is_https: bool) -> Result<Connector, BoxError> {
    let system = GaiResolver::new();
    let system = system.map_response(|addresses| addresses.collect::<Vec<_>>().into_iter());
    connector_by(BoxCloneSyncService::new(system), is_https)
}

fn connector_by(resolver: Resolver, is_https: bool) -> Result<Connector, BoxError> {
    let mut http = HttpConnector::new_with_resolver(resolver);
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_keepalive(Some(TCP_KEEPALIVE));
    http.set_keepalive_interval(Some(TCP_KEEPALIVE));
    #[cfg(target_os = "linux")]
    http.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT));
    let provider = rustls::crypto::ring::default_provider();
    let tls = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()?;
    let mut roots = rustls::RootCertStore::empty();
    if is_https {
        let found = rustls_native_certs::load_native_certs();
        let (n_added, _) = roots.add_parsable_certificates(found.certs);
        if n_added == 0 {
            return Err("the system has no root certificates for https".into());
        }
    }
    let mut tls = tls.with_root_certificates(roots).with_no_client_auth();
    // A server that speaks HTTP/2 alone then refuses the handshake.
    tls.alpn_protocols = vec![HTTP_1_1.to_vec()];
    Ok(Connector(HttpsConnector::from((http, tls))))
}

impl Connector {
    /// Connects to the URL's host.
    pub(super) async fn connect(self, uri: Uri) -> Result<Socket, BoxError> {
        Ok(match self.0.oneshot(uri).await? {
            MaybeHttpsStream::Http(plain) => Socket::Plain(Coalesced::new(plain.into_inner())),
            tls @ MaybeHttpsStream::Https(_) => Socket::Tls(Box::new(TokioIo::new(tls))),
        })
    }
}

impl Socket {
    /// Whether that it is pending may once not have meant that nothing has come.
    pub(super) fn has_paused(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.has_paused(),
            Self::Tls(_) => false,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(context, buffer),
            Self::Tls(socket) => Pin::new(socket).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Tls(socket) => Pin::new(socket).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(context, slices),
            Self::Tls(socket) => Pin::new(socket).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_write_vectored(),
            Self::Tls(socket) => socket.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(context),
            Self::Tls(socket) => Pin::new(socket).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Tls(socket) => Pin::new(socket).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::net::TcpListener;
    use tower::service_fn;

    use super::*;

    /// Row B26 of the fault matrix.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_name_that_gets_another_address_is_followed_by_the_next_connection() {
        let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = first.local_addr().unwrap().port();
        let second = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
        let address = Arc::new(Mutex::new(first.local_addr().unwrap()));
        let told = Arc::clone(&address);
        let resolver = service_fn(move |_name| {
            let address = *told.lock().unwrap();
            async move { Ok(vec![address].into_iter()) }
        });
        let connector = connector_by(BoxCloneSyncService::new(resolver), false).unwrap();
        let uri: Uri = format!("http://vllm.test:{port}/").parse().unwrap();
        for listener in [first, second] {
            *address.lock().unwrap() = listener.local_addr().unwrap();
            let _socket = connector.clone().connect(uri.clone()).await.unwrap();
            listener.accept().await.unwrap();
        }
    }
    /// Row C1: reads back what a lost host would show after two minutes.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_host_that_acknowledges_nothing_is_given_up_in_two_minutes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/", listener.local_addr().unwrap());
        let connector = connector(false).unwrap();
        let opened = connector.0.oneshot(uri.parse().unwrap()).await.unwrap();
        let MaybeHttpsStream::Http(plain) = opened else {
            panic!("{opened:?}");
        };
        let socket = socket2::SockRef::from(plain.inner());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), TCP_KEEPALIVE);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), TCP_KEEPALIVE);
        let timeout = socket.tcp_user_timeout().unwrap();
        assert_eq!(timeout, Some(Duration::from_secs(120)));
    }
}
