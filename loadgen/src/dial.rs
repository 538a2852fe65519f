//! Connections to the server's HTTP port, with TLS where its URL asks for that.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::http::Uri;

use anyone::Anyone;

mod anyone;

/// Bytes of an answer beyond which we stop reading.
const ANSWER_LEN_MAX: u64 = 16 << 20;

#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DialError {
    #[error("{0} is no URL of a server: it begins with ws://, wss://, http:// or https://")]
    Url(String),
    #[error("{address}: {source}")]
    Connect { address: String, source: io::Error },
    #[error("{0}: {1}")]
    Certificates(String, String),
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("the server answered with HTTP {0}")]
    Status(String),
    #[error("reading the answer: {0}")]
    Io(#[from] io::Error),
}

/// Whose certificates are trusted.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Trust<'a> {
    /// What this host trusts.
    Host,
    /// The authorities in a file, PEM, and nobody else.
    File(&'a Path),
    /// Anybody: for tests.
    Anyone,
}

/// How to speak TLS; made once for all clients.
#[derive(Clone)]
pub struct Tls(Option<Arc<ClientConfig>>);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.0.is_some()).finish()
    }
}

impl Tls {
    /// For a server without TLS.
    pub const NONE: Self = Self(None);

    pub fn new(trust: Trust<'_>) -> Result<Self, DialError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let config = match trust {
            Trust::Anyone => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anyone::new(provider)))
                .with_no_client_auth(),
            Trust::Host | Trust::File(_) => builder
                .with_root_certificates(roots(trust)?)
                .with_no_client_auth(),
        };
        Ok(Self(Some(Arc::new(config))))
    }
}

fn roots(trust: Trust<'_>) -> Result<RootCertStore, DialError> {
    let mut store = RootCertStore::empty();
    let found = match trust {
        Trust::File(path) => {
            let name = path.display().to_string();
            let failed =
                |error: &dyn fmt::Display| DialError::Certificates(name.clone(), error.to_string());
            let pem = fs::read(path).map_err(|error| failed(&error))?;
            let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
            let found = found.map_err(|error| failed(&error))?;
            if found.is_empty() {
                return Err(failed(&"there is no certificate in it"));
            }
            found
        }
        Trust::Host | Trust::Anyone => {
            let found = rustls_native_certs::load_native_certs();
            // Single files that cannot be read are common; without any, every server would look
            // untrusted.
            if found.certs.is_empty() {
                let why = match found.errors.first() {
                    Some(error) => error.to_string(),
                    None => "there are none: install ca-certificates, or name a file".to_owned(),
                };
                let host = "this host's authorities".to_owned();
                return Err(DialError::Certificates(host, why));
            }
            found.certs
        }
    };
    store.add_parsable_certificates(found);
    Ok(store)
}

/// Where a URL leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Address {
    pub secure: bool,
    pub host: String,
    pub port: u16,
    /// With a slash in front and none behind.
    pub path: String,
}

impl Address {
    pub fn parse(url: &str) -> Result<Self, DialError> {
        let wrong = || DialError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let secure = match uri.scheme_str() {
            Some("ws" | "http") => false,
            Some("wss" | "https") => true,
            _ => return Err(wrong()),
        };
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or_else(wrong)?;
        Ok(Self {
            secure,
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            path: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// As it stands in a URL and in the header of that name.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// A connection with or without TLS.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + fmt::Debug {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + fmt::Debug> Stream for S {}

pub async fn dial(address: &Address, tls: &Tls) -> Result<Box<dyn Stream>, DialError> {
    let failed = |source| DialError::Connect {
        address: address.authority(),
        source,
    };
    let tcp = TcpStream::connect((address.host.as_str(), address.port)).await;
    let tcp = tcp.map_err(failed)?;
    // As browsers: a request does not wait for the answer to the one before.
    tcp.set_nodelay(true).map_err(failed)?;
    if !address.secure {
        return Ok(Box::new(tcp));
    }
    let config = match &tls.0 {
        Some(config) => Arc::clone(config),
        None => match Tls::new(Trust::Host)?.0 {
            Some(config) => config,
            None => return Err(DialError::Url(address.authority())),
        },
    };
    let name = ServerName::try_from(address.host.clone());
    let name = name.map_err(|error| failed(io::Error::other(error)))?;
    let stream = TlsConnector::from(config).connect(name, tcp).await;
    Ok(Box::new(stream.map_err(failed)?))
}

/// The body of the answer to a GET request.
pub async fn get(address: &Address, path: &str, tls: &Tls) -> Result<String, DialError> {
    let mut stream = dial(address, tls).await?;
    // RFC 9112 §9.6; with version 1.0 the body is neither chunked nor compressed.
    let request = format!(
        "GET {path} HTTP/1.0\r\nHost: {}\r\nConnection: close\r\n\r\n",
        address.authority()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_LEN_MAX).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.lines().next().unwrap_or_default();
    let status = status.split_once(' ').map_or("", |(_, status)| status);
    if status.starts_with("200") {
        Ok(body.to_owned())
    } else {
        Err(DialError::Status(status.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn urls_name_host_port_and_security() {
        let parsed = |url: &str| {
            let address = Address::parse(url).unwrap();
            (address.authority(), address.secure, address.path)
        };
        let of =
            |authority: &str, secure, path: &str| (authority.to_owned(), secure, path.to_owned());
        assert_eq!(parsed("ws://h:7880/"), of("h:7880", false, ""));
        assert_eq!(parsed("https://h"), of("h:443", true, ""));
        assert_eq!(parsed("wss://[::1]:5/sfu/"), of("[::1]:5", true, "/sfu"));
        for wrong in ["h:7880", "ftp://h", "ws://", "ws:///x"] {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
    }

    /// A server with a certificate that nobody signed; answers one request.
    async fn secure_server() -> (Address, std::path::PathBuf) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let path = std::env::temp_dir().join(format!(
            "millrace-loadgen-{}-{}.pem",
            std::process::id(),
            rand::random::<u32>()
        ));
        let encoded = STANDARD.encode(made.cert.der());
        let pem = format!("-----BEGIN CERTIFICATE-----\n{encoded}\n-----END CERTIFICATE-----\n");
        fs::write(&path, pem).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.unwrap())
            .unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
            while let Ok((tcp, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(tcp).await else {
                    continue;
                };
                let mut request = [0; 1000];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nhello").await;
                let _ = stream.shutdown().await;
            }
        });
        let address = Address::parse(&format!("wss://localhost:{port}")).unwrap();
        (address, path)
    }

    #[tokio::test]
    async fn a_certificate_is_trusted_if_its_authority_is() {
        let (address, path) = secure_server().await;
        let tls = Tls::new(Trust::File(&path)).unwrap();
        assert_eq!(get(&address, "/", &tls).await.unwrap(), "hello");
        let tls = Tls::new(Trust::Anyone).unwrap();
        assert_eq!(get(&address, "/", &tls).await.unwrap(), "hello");
        let tls = Tls::new(Trust::Host).unwrap();
        let refused = get(&address, "/", &tls).await.unwrap_err();
        assert!(matches!(refused, DialError::Connect { .. }), "{refused}");
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        let path = std::env::temp_dir().join("millrace-loadgen-no-certificate.pem");
        fs::write(&path, "nothing").unwrap();
        let error = Tls::new(Trust::File(&path)).unwrap_err().to_string();
        assert!(error.contains("no certificate"), "{error}");
    }
}
