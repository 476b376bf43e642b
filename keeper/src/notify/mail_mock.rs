//! A mail server for tests that fails in the ways mail servers fail, and is tampered with in the ways somebody on the way may.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cordon_client::config::{Email, MailSecurity, Via};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::mock::credential;

/// Certificate for `localhost`, of nobody's authority, with its key.
pub(super) const CERTIFICATE: &[u8] = include_bytes!("../../tests/data/mail-server-of-nobody.pem");

/// At which step an SMTP server says no, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Friendly,
    /// `421` instead of a greeting.
    Overloaded,
    /// `550` to the receiver.
    NoSuchUser,
    /// `451` to the text.
    Greylisting,
    /// `535` to the password.
    BadPassword,
    /// Greets, and hangs up at the first command.
    HangsUp,
    /// Takes the connection and says nothing.
    Silent,
}

/// How the server encrypts, and who is on the way to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    /// It knows no encryption, or somebody strikes the offer out: mail and passwords are taken in the clear.
    Clear,
    /// TLS from the first byte.
    Tls,
    /// It offers STARTTLS.
    StartTls,
    /// It offers STARTTLS and cannot begin it just now; mail is taken in the clear.
    StartTlsRefused,
    /// Somebody adds answers to the leave to begin TLS, a confirmation of the mail among them.
    Injected,
}

/// A mail server at work.
pub(super) struct MailServer {
    pub(super) port: u16,
    /// The mails that it has taken.
    pub(super) mails: Arc<Mutex<Vec<String>>>,
    /// The lines that came in the clear.
    pub(super) clear: Arc<Mutex<String>>,
}

/// A mail server without encryption; answers the mails that it has taken.
pub(super) async fn mail_server(mood: Mood) -> (u16, Arc<Mutex<Vec<String>>>) {
    let server = MailServer::start(mood, Wire::Clear).await;
    (server.port, server.mails)
}

impl MailServer {
    pub(super) async fn start(mood: Mood, wire: Wire) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            mails: Arc::default(),
            clear: Arc::default(),
        };
        let (mails, clear) = (Arc::clone(&server.mails), Arc::clone(&server.clear));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (mails, clear) = (Arc::clone(&mails), Arc::clone(&clear));
                tokio::spawn(async move { serve(socket, (mood, wire), &mails, &clear).await });
            }
        });
        server
    }
}

async fn serve(
    socket: TcpStream,
    (mood, wire): (Mood, Wire),
    mails: &Mutex<Vec<String>>,
    clear: &Mutex<String>,
) -> std::io::Result<()> {
    if wire == Wire::Tls {
        let socket = acceptor().accept(socket).await?;
        return converse(&mut BufReader::new(socket), (mood, Wire::Tls, true), mails, None)
            .await
            .map(drop);
    }
    let mut socket = BufReader::new(socket);
    if !converse(&mut socket, (mood, wire, true), mails, Some(clear)).await? {
        return Ok(());
    }
    let socket = acceptor().accept(socket.into_inner()).await?;
    converse(&mut BufReader::new(socket), (mood, Wire::Tls, false), mails, None)
        .await
        .map(drop)
}

fn acceptor() -> TlsAcceptor {
    let chain = CertificateDer::pem_slice_iter(CERTIFICATE)
        .collect::<Result<_, _>>()
        .unwrap();
    let key = PrivateKeyDer::from_pem_slice(CERTIFICATE).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    Arc::new(config).into()
}

/// Speaks SMTP until the end, or, which answers `true`, until TLS is to begin.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut BufReader<S>,
    (mood, wire, greets): (Mood, Wire, bool),
    taken: &Mutex<Vec<String>>,
    clear: Option<&Mutex<String>>,
) -> std::io::Result<bool> {
    if mood == Mood::Silent {
        tokio::time::sleep(Duration::from_secs(60)).await;
        return Ok(false);
    }
    if mood == Mood::Overloaded {
        socket.write_all(b"421 4.3.2 too busy, try again later\r\n").await?;
        return Ok(false);
    }
    if greets {
        socket.write_all(b"220 mail.example ESMTP\r\n").await?;
        socket.flush().await?;
    }
    loop {
        let mut line = String::new();
        if socket.read_line(&mut line).await? == 0 || mood == Mood::HangsUp {
            return Ok(false);
        }
        if let Some(clear) = clear {
            clear.lock().unwrap().push_str(&line);
        }
        let verb = line.get(..4).unwrap_or_default().to_uppercase();
        let reply = match (verb.as_str(), mood, wire) {
            ("EHLO", _, Wire::Clear | Wire::Tls) => "250-mail.example\r\n250 AUTH PLAIN LOGIN\r\n",
            ("EHLO", ..) => "250-mail.example\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN\r\n",
            ("STAR", _, Wire::StartTlsRefused) => "454 4.7.0 TLS not available due to temporary reason\r\n",
            ("STAR", _, Wire::Injected) => {
                let added = concat!(
                    "220 go ahead\r\n250-mail.example\r\n250 AUTH PLAIN\r\n235 welcome\r\n",
                    "250 ok\r\n250 ok\r\n250 ok\r\n354 go on\r\n250 2.0.0 queued\r\n"
                );
                socket.write_all(added.as_bytes()).await?;
                return Ok(true);
            }
            ("STAR", _, Wire::StartTls) => {
                socket.write_all(b"220 go ahead\r\n").await?;
                return Ok(true);
            }
            ("AUTH", Mood::BadPassword, _) => "535 5.7.8 authentication failed\r\n",
            ("AUTH", ..) => "235 2.7.0 welcome\r\n",
            ("RCPT", Mood::NoSuchUser, _) => "550 5.1.1 no such user here\r\n",
            ("DATA", Mood::Greylisting, _) => "451 4.7.1 greylisted\r\n",
            ("DATA", ..) => {
                socket.write_all(b"354 go on\r\n").await?;
                socket.flush().await?;
                let mut mail = String::new();
                while !mail.ends_with("\r\n.\r\n") {
                    if socket.read_line(&mut mail).await? == 0 {
                        return Ok(false);
                    }
                }
                if let Some(clear) = clear {
                    clear.lock().unwrap().push_str(&mail);
                }
                taken.lock().unwrap().push(mail);
                "250 2.0.0 queued\r\n"
            }
            ("QUIT", ..) => "221 bye\r\n",
            _ => "250 ok\r\n",
        };
        socket.write_all(reply.as_bytes()).await?;
        socket.flush().await?;
    }
}

/// Mail through a server on this machine.
pub(super) fn email(dir: &std::path::Path, port: u16) -> Via {
    Via::Email(mail_settings(dir, port, MailSecurity::None))
}

/// A mail server on this machine, and how it is to be spoken to.
pub(super) fn mail_settings(dir: &std::path::Path, port: u16, security: MailSecurity) -> Email {
    Email {
        host: if security == MailSecurity::None {
            "127.0.0.1"
        } else {
            "localhost"
        }
        .into(),
        port,
        security,
        login: Some(("cordon".into(), credential(dir, "mail", "P4SS-secret"))),
        sender: "cordon@example.org".into(),
        recipients: vec!["ops@example.org".into(), "chief@example.org".into()],
    }
}
