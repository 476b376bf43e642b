//! WebSocket endpoints: whether one works, and whether it is of the chain that is followed.

use std::time::Duration;

use alloy::primitives::B256;
use alloy::providers::{Provider, ProviderBuilder, WsConnect};
use tokio::sync::watch;

/// How long a connection, or an answer, may take.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Subscribes once, and says why that does not work.
pub(crate) async fn probe_ws(url: &str, chain_id: u64) -> Result<(), String> {
    let probe = async {
        let provider = ProviderBuilder::new()
            .disable_recommended_fillers()
            .connect_ws(WsConnect::new(url).with_max_retries(1))
            .await?;
        let actual = provider.get_chain_id().await?;
        drop(provider.subscribe_blocks().await?);
        Ok::<_, alloy::transports::TransportError>(actual)
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, probe).await {
        Err(_) => Err(format!("it does not answer within {} s", CONNECT_TIMEOUT.as_secs())),
        Ok(Err(error)) => Err(format!(
            "it gives no subscription ({})",
            without(url, &error.to_string())
        )),
        Ok(Ok(actual)) if actual != chain_id => Err(format!("it serves chain {actual}, not {chain_id}")),
        Ok(Ok(_)) => Ok(()),
    }
}

/// A text without the URL, which may hold a key.
pub(crate) fn without(url: &str, text: &str) -> String {
    let bare = url.trim_end_matches('/');
    let mut text = text.replace(bare, "the endpoint");
    let path = bare.split_once("://").and_then(|(_, rest)| rest.split_once('/'));
    if let Some((_, path)) = path.filter(|(_, path)| !path.is_empty()) {
        text = text.replace(path, "…");
    }
    text
}

/// Ends when this endpoint is found to have another block than the chain that is followed; looks whenever that was compared.
pub(super) async fn until_elsewhere(provider: &impl Provider, mut followed: watch::Receiver<Option<(u64, B256)>>) {
    loop {
        let held = *followed.borrow_and_update();
        if let Some((number, hash)) = held {
            let asked = provider.get_block_by_number(number.into()).hashes();
            // One that does not answer, or does not have the block yet, is found out otherwise.
            if let Ok(Ok(Some(block))) = tokio::time::timeout(CONNECT_TIMEOUT, asked).await
                && block.header.hash != hash
            {
                return;
            }
        }
        if followed.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_repeats_the_key_of_an_endpoint() {
        let url = "wss://arb.example/v2/s3cret";
        assert_eq!(
            without(url, "HTTP error at wss://arb.example/v2/s3cret: 401"),
            "HTTP error at the endpoint: 401"
        );
        assert_eq!(without(url, "GET /v2/s3cret: 401"), "GET /…: 401");
        assert_eq!(without("ws://127.0.0.1:1/", "connection refused"), "connection refused");
    }
}
