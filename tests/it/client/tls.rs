//! Over TLS: whom the client trusts, and what a proxy sees.

use std::{
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, Mutex},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixListener},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
};

use super::*;

/// An authority that nobody knows.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    directory: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let root = params.self_signed(&key).expect("a root");
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("ca.pem");
        std::fs::write(&path, root.pem()).expect("written");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).expect("a mode");
        Self { issuer: Issuer::new(params, key), directory }
    }

    /// The client's configuration for an emulator behind TLS at this address.
    fn config(&self, address: SocketAddr) -> Config {
        Config {
            api_url: Some(format!("https://{address}")),
            graphql_url: Some(format!("https://localhost:{}/graphql", address.port())),
            ca_file: Some(self.directory.path().join("ca.pem")),
            ..Config::default()
        }
    }

    /// Listens with TLS, and passes on in the clear what comes.
    async fn terminate(&self, emulator: SocketAddr) -> SocketAddr {
        let key = KeyPair::generate().expect("a key");
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let certificate = CertificateParams::new(names).expect("names").signed_by(&key, &self.issuer);
        let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.expect("a certificate").der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
            );
        let acceptor = TlsAcceptor::from(Arc::new(server.expect("a server")));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut client = acceptor.accept(stream).await?;
                    let mut server = TcpStream::connect(emulator).await?;
                    tokio::io::copy_bidirectional(&mut client, &mut server).await
                });
            }
        });
        address
    }
}

/// What clients said to a proxy.
type Heard = Arc<Mutex<Vec<u8>>>;

/// A proxy that knows CONNECT, and hears everything that clients say.
async fn proxy() -> (String, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let overheard = Heard::default();
    let listens = Arc::clone(&overheard);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(tunnel(stream, Arc::clone(&listens)));
        }
    });
    (url, overheard)
}

async fn tunnel(mut client: TcpStream, overheard: Heard) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    overheard.lock().expect("no proxy panics").extend_from_slice(&head);
    let head = String::from_utf8_lossy(&head);
    let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).expect("CONNECT only");
    let server = TcpStream::connect(target).await?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    pass_on(client, server, overheard).await
}

/// Passes bytes both ways, and keeps what the client says.
async fn pass_on(
    client: impl AsyncRead + AsyncWrite + Send + 'static,
    server: TcpStream,
    overheard: Heard,
) -> std::io::Result<()> {
    let (mut from_server, mut to_server) = server.into_split();
    let (mut from_client, mut to_client) = tokio::io::split(client);
    tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    let mut buffer = [0; 4096];
    loop {
        let read = from_client.read(&mut buffer).await?;
        overheard.lock().expect("no proxy panics").extend_from_slice(&buffer[..read]);
        if read == 0 {
            return to_server.shutdown().await;
        }
        to_server.write_all(&buffer[..read]).await?;
    }
}

/// A REST call and a GraphQL call with a user's token.
async fn both(tray: &Tray, user: &UserToken) -> Result<(), TrayError> {
    tray.connectors(Acting::EndUser(user)).await?;
    tray.authentications(Acting::EndUser(user)).await.map(drop)
}

fn requests(client: &Client) -> [u64; 2] {
    [Call::ListConnectors, Call::ListAuthentications].map(|call| client.world().requests(call))
}

#[tokio::test]
async fn an_authority_of_the_operators_is_trusted_and_no_other() {
    let (authority, other, client) = (Authority::new(), Authority::new(), Client::new().await);
    let user = client.user().await;
    let address = authority.terminate(client.emulator.address()).await;
    let strangers = [other.config(address), Config { ca_file: None, ..authority.config(address) }];
    for config in strangers {
        // A host may have no roots of its own at all.
        let Ok(tray) = Tray::new(&config) else { continue };
        let error = tray.connectors(Acting::EndUser(&user)).await.expect_err("a stranger");
        assert_eq!((error.class, error.reason), (Class::RetryLater, "Tray can't be reached"));
    }
    assert_eq!(requests(&client), [0, 0]);
    let tray = Tray::new(&authority.config(address)).expect("a client");
    both(&tray, &user).await.expect("both answer");
    assert_eq!(requests(&client), [1, 1]);
    // Two names of one server are two hosts.
    let hosts: Vec<_> = tray.standing().hosts.into_iter().map(|host| host.host).collect();
    assert_eq!(hosts, [address.to_string(), format!("localhost:{}", address.port())]);
}

#[tokio::test]
async fn a_proxy_sees_where_to_and_nothing_else() {
    let (authority, client) = (Authority::new(), Client::new().await);
    let user = client.user().await;
    let address = authority.terminate(client.emulator.address()).await;
    let (url, overheard) = proxy().await;
    let config = Config { proxy: Some(url), ..authority.config(address) };
    let tray = Tray::new(&config).expect("a client");
    both(&tray, &user).await.expect("both answer");
    assert_eq!(requests(&client), [1, 1]);
    let overheard = overheard.lock().expect("no proxy panics");
    let has = |text: &str| overheard.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has(&format!("CONNECT {address} HTTP/1.1")) && has(&format!("CONNECT localhost:{}", address.port())));
    for secret in [user.secret().expose_secret(), "Bearer", "uthorization", "/core/", "graphql"] {
        assert!(!has(secret), "the proxy heard {secret:?}");
    }
}

/// A socket that leads to a server, as systemd-socket-proxyd's does, and hears everything that clients say.
fn egress(path: &Path, server: SocketAddr) -> Heard {
    let listener = UnixListener::bind(path).expect("a socket");
    let overheard = Heard::default();
    let listens = Arc::clone(&overheard);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let server = TcpStream::connect(server).await?;
            tokio::spawn(pass_on(stream, server, Arc::clone(&listens)));
        }
        std::io::Result::Ok(())
    });
    overheard
}

/// A daemon without a network: each host of Tray's is behind a socket, and TLS ends in the daemon.
#[tokio::test]
async fn without_a_network_each_host_is_reached_through_its_socket() {
    let (authority, client) = (Authority::new(), Client::new().await);
    let user = client.user().await;
    let address = authority.terminate(client.emulator.address()).await;
    let directory = tempfile::tempdir().expect("a directory");
    let rest = egress(&directory.path().join("127.0.0.1.sock"), address);
    // Where nothing answers over a network.
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let config = Config { egress: Some(directory.path().to_owned()), ..authority.config(nowhere) };
    let tray = Tray::new(&config).expect("a client");
    tray.connectors(Acting::EndUser(&user)).await.expect("an answer");
    let error = tray.authentications(Acting::EndUser(&user)).await.map(drop).expect_err("no socket of that host");
    assert_eq!((error.class, error.reason), (Class::RetryLater, "Tray can't be reached"));
    let graphql = egress(&directory.path().join("localhost.sock"), address);
    both(&tray, &user).await.expect("both answer");
    assert_eq!(requests(&client), [2, 1]);
    for overheard in [rest, graphql] {
        let overheard = overheard.lock().expect("nothing panics");
        assert!(!overheard.is_empty());
        for secret in [user.secret().expose_secret(), "Bearer", "uthorization", "/core/", "graphql"] {
            assert!(!overheard.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret:?} was heard");
        }
    }
}

/// What is on loopback in the clear needs no proxy, and gets none.
#[tokio::test]
async fn loopback_is_not_proxied() {
    let client = Client::new().await;
    let user = client.user().await;
    let (url, overheard) = proxy().await;
    let tray = Tray::new(&Config { proxy: Some(url), ..client.config() }).expect("a client");
    both(&tray, &user).await.expect("both answer");
    assert!(overheard.lock().expect("no proxy panics").is_empty());
}
