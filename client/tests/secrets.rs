//! Keys come from the environment or a keystore, and no message repeats one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use std::path::Path;

use alloy::primitives::{address, b256};
use cordon_client::config::Secret;

const KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

fn env(name: &str) -> Option<String> {
    match name {
        "GOOD" => Some(format!("0x{KEY}\n")),
        "BARE" => Some(KEY.to_owned()),
        "SHORT" => Some(KEY[..60].to_owned()),
        "PASSWORD" => Some("testpassword".to_owned()),
        "WRONG" => Some("testpasswort".to_owned()),
        _ => None,
    }
}

fn message(secret: &Secret, directory: &Path) -> String {
    secret.signer_with(directory, env).unwrap_err().to_string()
}

#[test]
fn keys_are_read_from_the_environment() {
    for name in ["GOOD", "BARE"] {
        let signer = Secret::Env(name.into()).signer_with(Path::new("."), env).unwrap();
        assert_eq!(signer.address(), address!("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"));
    }
    assert_eq!(
        message(&Secret::Env("CORDON_KEEPER_KEY".into()), Path::new(".")),
        "the environment variable CORDON_KEEPER_KEY is not set; it must hold a private key in hex"
    );
    assert_eq!(
        message(&Secret::Env("SHORT".into()), Path::new(".")),
        "the environment variable SHORT holds no private key: 32 bytes in hex are wanted (64 digits, with or without 0x)"
    );
}

#[test]
fn keystores_are_opened_with_their_password() {
    // The test vector of the Web3 secret storage definition (PBKDF2).
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let keystore = |file: &str, password: &str| Secret::Keystore {
        path: file.into(),
        password_env: password.into(),
    };

    let signer = keystore("keeper.json", "PASSWORD")
        .signer_with(&directory, env)
        .unwrap();
    assert_eq!(
        signer.to_bytes(),
        b256!("0x7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d")
    );

    let place = directory.display().to_string();
    let text = |secret: Secret| message(&secret, &directory).replace(&place, "DIR");
    assert_eq!(
        text(keystore("keeper.json", "WRONG")),
        "cannot open the keystore DIR/keeper.json: Mac Mismatch; check the path, and the password in WRONG"
    );
    assert_eq!(
        text(keystore("other.json", "PASSWORD")),
        "cannot open the keystore DIR/other.json: IO: No such file or directory (os error 2); check the path, and the password in PASSWORD"
    );
    assert_eq!(
        text(keystore("keeper.json", "UNSET")),
        "the environment variable UNSET is not set; it must hold the keystore's password"
    );
}

const PROJECT: &str = "projects/p/locations/global/keyRings/r/cryptoKeys/k/cryptoKeyVersions/3";

/// The key that a configuration names so.
fn named(key: &str) -> Secret {
    let text = include_str!("data/full.toml").replacen("{ env = \"CORDON_KEEPER_KEY\" }", key, 1);
    let config = common::parse(&text).unwrap_or_else(|error| panic!("{error}"));
    config.keeper.unwrap().key.unwrap()
}

#[test]
fn keys_may_be_where_they_never_leave() {
    let account = Some(address!("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"));
    let arn = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    assert_eq!(
        named(&format!("{{ aws_kms = \"{arn}\" }}")),
        Secret::AwsKms {
            key: arn.into(),
            region: None,
            endpoint: None,
            address: None,
        }
    );
    let whole = "{ aws_kms = \"alias/keeper\", region = \"eu-central-1\", endpoint = \"https://vpce-1.kms.eu-central-1.vpce.amazonaws.com\", address = \"0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266\" }";
    assert_eq!(
        named(whole),
        Secret::AwsKms {
            key: "alias/keeper".into(),
            region: Some("eu-central-1".into()),
            endpoint: "https://vpce-1.kms.eu-central-1.vpce.amazonaws.com/".parse().ok(),
            address: account,
        }
    );
    let gcp = named(&format!(
        "{{ gcp_kms = \"{PROJECT}\", endpoint = \"http://127.0.0.1:9090\" }}"
    ));
    let Secret::GcpKms { key, .. } = &gcp else {
        panic!("{gcp}")
    };
    assert_eq!((key.version, key.to_string().as_str()), (3, PROJECT));
    let ledger = named("{ ledger = \"m/44'/60'/1'/0/0\", address = \"0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266\" }");
    assert!(ledger.needs_hand() && !gcp.needs_hand());
    assert_eq!(
        message(&ledger, Path::new(".")),
        "the Ledger at m/44'/60'/1'/0/0 is asked by the keeper only: name a key in the environment or a keystore"
    );
}
