//! WebSocket endpoints: whether one works, and whether it is of the chain that is followed, and announces what is there.

use std::time::Duration;

use alloy::primitives::B256;
use alloy::providers::{Provider, ProviderBuilder, WsConnect};
use tokio::sync::watch;

use super::{BlockRef, BlockSource, Rpc};

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

/// What the endpoints say of a head that was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    /// They have it.
    Known,
    /// They have another block at its height: it was made up, or a reorg has taken it.
    Other,
    /// They have nothing at its height, or it at another one.
    Unknown,
    /// None of them answers.
    None,
}

async fn word(rpc: &Rpc, head: &BlockRef) -> Word {
    match rpc.by_hash(head.hash).await {
        Ok(Some(block)) if (block.number, block.parent) == (head.number, head.parent) => Word::Known,
        Ok(Some(_)) => Word::Unknown,
        Ok(None) => match rpc.by_number(head.number).await {
            Ok(Some(_)) => Word::Other,
            Ok(None) => Word::Unknown,
            Err(_) => Word::None,
        },
        Err(_) => Word::None,
    }
}

/// The next head that was announced. There is none any more when this does not end.
async fn next(announced: &mut watch::Receiver<Option<BlockRef>>) -> BlockRef {
    loop {
        if announced.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        if let Some(head) = *announced.borrow_and_update() {
            return head;
        }
    }
}

/// Ends when a head was announced that the endpoints do not come to within `patience`; where they have another block instead, which a reorg may
/// have left behind, when that is so twice in a row.
pub(super) async fn until_unknown(rpc: &Rpc, mut announced: watch::Receiver<Option<BlockRef>>, patience: Duration) {
    let mut before = Word::Known;
    loop {
        let head = next(&mut announced).await;
        tokio::time::sleep(patience).await;
        let now = word(rpc, &head).await;
        match (before, now) {
            (_, Word::Unknown) | (Word::Other, Word::Other) => return,
            (_, Word::None) => {}
            _ => before = now,
        }
    }
}

/// Ends when a head was announced that the endpoints come to within `patience`.
pub(super) async fn until_known(rpc: &Rpc, mut announced: watch::Receiver<Option<BlockRef>>, patience: Duration) {
    /// How often they are asked for one head.
    const ATTEMPTS: u32 = 10;
    loop {
        let head = next(&mut announced).await;
        for _ in 0..ATTEMPTS {
            tokio::time::sleep(patience / ATTEMPTS).await;
            if word(rpc, &head).await == Word::Known {
                return;
            }
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
