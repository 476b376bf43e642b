//! Mail over TLS: under TLS or not at all, whoever is on the way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use alloy::primitives::Address;
use lettre::transport::smtp::client::Certificate;

use super::super::super::mail_mock::{CERTIFICATE, MailServer, Mood, Wire, mail_settings};
use super::super::super::{Origin, test_message};
use super::*;

/// As the password goes over the wire (base64 of NUL, `cordon`, NUL, `P4SS-secret`).
const PASSWORD: &str = "AGNvcmRvbgBQNFNTLXNlY3JldA==";

fn message() -> Message {
    let origin = Origin {
        chain_id: 42_161,
        guard: Address::repeat_byte(0x11),
        record: "00c0ffee".into(),
    };
    let [open, _] = test_message(&origin, 1_700_000_000_000);
    open
}

/// What becomes of a mail to this server.
async fn sent(server: &MailServer, security: MailSecurity, trusts: bool) -> Result<(), SendError> {
    let dir = tempfile::tempdir().unwrap();
    let settings = mail_settings(dir.path(), server.port, security);
    let password = Some(SecretText::new("P4SS-secret".to_owned()));
    let email = Email::trusting(&settings, password, |tls| {
        let certificate = Certificate::from_pem(CERTIFICATE).unwrap();
        if trusts {
            tls.add_root_certificate(certificate)
        } else {
            tls
        }
    });
    email.unwrap().send(&message()).await
}

#[tokio::test]
async fn password_and_mail_go_under_tls_alone() {
    for (security, wire) in [(MailSecurity::StartTls, Wire::StartTls), (MailSecurity::Tls, Wire::Tls)] {
        let server = MailServer::start(Mood::Friendly, wire).await;
        assert_eq!(sent(&server, security, true).await, Ok(()), "{wire:?}");
        let mails = server.mails.lock().unwrap().clone();
        assert!(matches!(mails.as_slice(), [mail] if mail.contains("To: ops@example.org")));
        let clear = server.clear.lock().unwrap().clone();
        let verbs: Vec<&str> = clear.lines().filter_map(|line| line.split(' ').next()).collect();
        let wanted: &[&str] = if wire == Wire::Tls { &[] } else { &["EHLO", "STARTTLS"] };
        assert_eq!(verbs, wanted);
    }
    // What is compared with is what is sent where nobody asks for TLS.
    let server = MailServer::start(Mood::Friendly, Wire::Clear).await;
    assert_eq!(sent(&server, MailSecurity::None, true).await, Ok(()));
    assert!(server.clear.lock().unwrap().contains(PASSWORD));
}

#[tokio::test]
async fn without_the_encryption_that_was_asked_for_nothing_is_sent() {
    for (wire, trusts, why) in [
        (
            Wire::Clear,
            true,
            "offers no STARTTLS, and nothing is sent without encryption",
        ),
        (Wire::StartTlsRefused, true, "TLS not available"),
        (Wire::StartTls, false, "UnknownIssuer"),
        (Wire::Injected, true, "corrupt message"),
    ] {
        let server = MailServer::start(Mood::Friendly, wire).await;
        let error = sent(&server, MailSecurity::StartTls, trusts).await.unwrap_err();
        // It may pass later: whoever strikes the offer out today is gone tomorrow, and people hear of it after the third failure.
        assert!(
            matches!(&error, SendError::Failed(text) if text.contains(why)),
            "{wire:?}: {error}"
        );
        assert!(server.mails.lock().unwrap().is_empty(), "{wire:?}");
        let clear = server.clear.lock().unwrap().clone();
        assert!(
            !clear.contains("AUTH") && !clear.contains("MAIL FROM"),
            "{wire:?}: {clear}"
        );
    }
    // Nor to one that is not the server that its name says, or knows no TLS, where TLS begins with the first byte.
    for (wire, trusts) in [(Wire::Tls, false), (Wire::StartTls, true)] {
        let server = MailServer::start(Mood::HangsUp, wire).await;
        let error = sent(&server, MailSecurity::Tls, trusts).await.unwrap_err();
        assert!(matches!(error, SendError::Failed(_)), "{wire:?}: {error}");
        assert!(!server.clear.lock().unwrap().contains("AUTH"));
    }
}
