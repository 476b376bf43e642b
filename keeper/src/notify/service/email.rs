//! Mail by SMTP.

use std::time::Duration;

use cordon_client::config::{Email as Settings, MailSecurity, SecretText};
use lettre::message::{Mailbox, header};
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message as Mail, Tokio1Executor};

use super::super::http::redact;
use super::super::message::Event;
use super::{Message, SendError};

/// For the whole conversation: a server that greets and then falls silent costs no more.
const WHOLE: Duration = Duration::from_secs(20);
const CONNECT: Duration = Duration::from_secs(5);

/// A mail server and who writes to whom through it.
#[derive(Debug, Clone)]
pub(in super::super) struct Email {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    sender: Mailbox,
    recipients: Vec<Mailbox>,
    /// Domain of the sender, for the ids of messages.
    domain: String,
    password: Option<SecretText>,
}

impl Email {
    /// Checks addresses and prepares the connection; nothing is sent.
    pub(in super::super) fn new(settings: &Settings, password: Option<SecretText>) -> Result<Self, String> {
        let mailbox = |text: &String| -> Result<Mailbox, String> {
            text.parse()
                .map_err(|error| format!("`{text}` is no mail address: {error}"))
        };
        let host = settings.host.as_str();
        let builder = match settings.security {
            MailSecurity::Tls => AsyncSmtpTransport::<Tokio1Executor>::relay(host),
            MailSecurity::StartTls => AsyncSmtpTransport::<Tokio1Executor>::starttls_relay(host),
            MailSecurity::None => Ok(AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)),
        };
        let mut builder = builder
            .map_err(|error| format!("mail server {host}: {error}"))?
            .port(settings.port)
            .timeout(Some(CONNECT));
        if let (Some((username, _)), Some(password)) = (&settings.login, &password) {
            builder = builder.credentials(Credentials::new(username.clone(), password.expose().to_owned()));
        }
        let sender = mailbox(&settings.sender)?;
        Ok(Self {
            transport: builder.build(),
            domain: sender.email.domain().to_owned(),
            sender,
            recipients: settings.recipients.iter().map(mailbox).collect::<Result<_, _>>()?,
            password,
        })
    }

    pub(super) async fn send(&self, message: &Message) -> Result<(), SendError> {
        let mail = self
            .mail(message)
            .map_err(|error| SendError::Refused(format!("the mail cannot be written: {error}")))?;
        match tokio::time::timeout(WHOLE, self.transport.send(mail)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.trouble(&error)),
            Err(_) => Err(SendError::Failed(format!(
                "the mail server was not done within {} s",
                WHOLE.as_secs()
            ))),
        }
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
