//! Mail by SMTP.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use cordon_client::config::{Email as Settings, MailSecurity, SecretText};
use lettre::Message as Mail;
use lettre::message::{Mailbox, header};
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream, TlsParameters, TlsParametersBuilder};
use lettre::transport::smtp::extension::ClientId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::super::http::redact;
use super::super::message::Event;
use super::{Message, SendError};

/// For the whole conversation: a server that greets and then falls silent costs no more.
const WHOLE: Duration = Duration::from_secs(20);
const CONNECT: Duration = Duration::from_secs(5);

/// A mail server and who writes to whom through it.
#[derive(Debug, Clone)]
pub(in super::super) struct Email {
    server: Server,
    sender: Mailbox,
    recipients: Vec<Mailbox>,
    /// Domain of the sender, for the ids of messages.
    domain: String,
    login: Option<Credentials>,
    password: Option<SecretText>,
}

/// A mail server, and how it is spoken to.
#[derive(Clone)]
struct Server {
    host: String,
    port: u16,
    /// `None` where nothing is encrypted.
    tls: Option<TlsParameters>,
    /// Whether TLS is begun by a word in the clear.
    is_asked_for_tls: bool,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Email {
    /// Checks addresses and prepares the connection; nothing is sent.
    pub(in super::super) fn new(settings: &Settings, password: Option<SecretText>) -> Result<Self, String> {
        Self::trusting(settings, password, |tls| tls)
    }

    /// As [`Email::new`], with a say in which certificates are believed.
    fn trusting(
        settings: &Settings,
        password: Option<SecretText>,
        trust: impl FnOnce(TlsParametersBuilder) -> TlsParametersBuilder,
    ) -> Result<Self, String> {
        let mailbox = |text: &String| -> Result<Mailbox, String> {
            text.parse()
                .map_err(|error| format!("`{text}` is no mail address: {error}"))
        };
        let host = settings.host.clone();
        let tls = match settings.security {
            MailSecurity::None => None,
            MailSecurity::Tls | MailSecurity::StartTls => Some(
                trust(TlsParameters::builder(host.clone()))
                    .build()
                    .map_err(|error| format!("mail server {host}: {error}"))?,
            ),
        };
        let login = settings.login.as_ref().zip(password.as_ref());
        let sender = mailbox(&settings.sender)?;
        Ok(Self {
            server: Server {
                host,
                port: settings.port,
                tls,
                is_asked_for_tls: settings.security == MailSecurity::StartTls,
            },
            domain: sender.email.domain().to_owned(),
            sender,
            recipients: settings.recipients.iter().map(mailbox).collect::<Result<_, _>>()?,
            login: login
                .map(|((username, _), password)| Credentials::new(username.clone(), password.expose().to_owned())),
            password,
        })
    }

    pub(super) async fn send(&self, message: &Message) -> Result<(), SendError> {
        let mail = self
            .mail(message)
            .map_err(|error| SendError::Refused(format!("the mail cannot be written: {error}")))?;
        match tokio::time::timeout(WHOLE, self.deliver(&mail)).await {
            Ok(sent) => sent,
            Err(_) => Err(SendError::Failed(format!(
                "the mail server was not done within {} s",
                WHOLE.as_secs()
            ))),
        }
    }

    async fn deliver(&self, mail: &Mail) -> Result<(), SendError> {
        const MECHANISMS: [Mechanism; 2] = [Mechanism::Plain, Mechanism::Login];
        let trouble = |error: SmtpError| self.trouble(&error);
        let mut connection = self.connect().await?;
        if let Some(login) = &self.login {
            connection.auth(&MECHANISMS, login).await.map_err(trouble)?;
        }
        connection
            .send(mail.envelope(), &mail.formatted())
            .await
            .map_err(trouble)?;
        // The server has the mail, whatever becomes of the farewell.
        let _ = connection.quit().await;
        Ok(())
    }

    /// A connection over which a password may be sent: encrypted, unless the configuration wants none.
    async fn connect(&self) -> Result<AsyncSmtpConnection, SendError> {
        let Server { host, port, tls, .. } = &self.server;
        let (at, hello) = ((host.as_str(), *port), ClientId::default());
        let trouble = |error: SmtpError| self.trouble(&error);
        let Some(tls) = tls.clone().filter(|_| self.server.is_asked_for_tls) else {
            return AsyncSmtpConnection::connect_tokio1(at, Some(CONNECT), &hello, tls.clone(), None)
                .await
                .map_err(trouble);
        };
        let refused = |why: String| SendError::Failed(format!("{host}:{port}: {why}"));
        let stream = match tokio::time::timeout(CONNECT, TcpStream::connect(at)).await {
            Ok(Ok(stream)) => Bytewise(stream),
            Ok(Err(error)) => return Err(refused(error.to_string())),
            Err(_) => return Err(refused("no connection in time".to_owned())),
        };
        let mut connection = AsyncSmtpConnection::connect_with_transport(Box::new(stream), &hello)
            .await
            .map_err(trouble)?;
        if !connection.can_starttls() {
            return Err(refused(
                "the mail server offers no STARTTLS, and nothing is sent without encryption".to_owned(),
            ));
        }
        connection.starttls(tls, &hello).await.map_err(trouble)?;
        Ok(connection)
    }

    /// All mails of a topic are one conversation; a mail that is sent twice has the same id both times.
    fn mail(&self, message: &Message) -> Result<Mail, lettre::error::Error> {
        let thread = format!("<{}@{}>", message.key, self.domain);
        let id = format!("<{}@{}>", message.id, self.domain);
        let mut builder = Mail::builder()
            .from(self.sender.clone())
            .subject(message.title.clone())
            .message_id(Some(id))
            .references(thread)
            .header(header::ContentType::TEXT_PLAIN);
        for recipient in &self.recipients {
            builder = builder.to(recipient.clone());
        }
        if message.event == Event::Trigger {
            builder = builder.header(Urgent);
        }
        builder.body(message.body.clone())
    }

    fn trouble(&self, error: &SmtpError) -> SendError {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        let secrets: Vec<&SecretText> = self.password.iter().collect();
        let text: String = redact(&text, &secrets)
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(300)
            .collect();
        if error.is_permanent() {
            SendError::Refused(text)
        } else {
            SendError::Failed(text)
        }
    }
}

/// `X-Priority: 1`, which mail programs show.
#[derive(Debug, Clone)]
struct Urgent;

impl header::Header for Urgent {
    fn name() -> header::HeaderName {
        header::HeaderName::new_from_ascii_str("X-Priority")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> header::HeaderValue {
        header::HeaderValue::new(Self::name(), "1".to_owned())
    }
}

/// A connection that gives a byte at a time. What somebody on the way puts behind the server's leave to begin TLS must not be taken for
/// answers that came under TLS, a confirmation of the mail among them: here it is where the handshake is to begin, and that fails.
#[derive(Debug)]
struct Bytewise(TcpStream);

impl AsyncRead for Bytewise {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut byte = [0];
        let mut one = ReadBuf::new(byte.get_mut(..buf.remaining().min(1)).unwrap_or_default());
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut one))?;
        buf.put_slice(one.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bytewise {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl AsyncTokioStream for Bytewise {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.peer_addr()
    }
}

#[cfg(test)]
#[path = "email_tests.rs"]
mod tests;
