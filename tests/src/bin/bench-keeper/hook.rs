//! The receiver of the keeper's webhooks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A message and when it arrived.
#[derive(Clone)]
pub(crate) struct Told {
    pub(crate) message: Value,
    pub(crate) at: Instant,
}

impl Told {
    fn fact(&self, path: &str) -> &Value {
        self.message.pointer(&format!("/facts/{path}")).unwrap_or(&Value::Null)
    }

    pub(crate) fn kind(&self) -> &str {
        self.fact("kind").as_str().unwrap_or_default()
    }

    /// The hash of the block, and what was found in it.
    pub(crate) fn what(&self) -> Option<(String, String)> {
        let hash = self.fact("sighting/block_hash").as_str()?;
        let key = self.fact("sighting/key").as_str()?;
        let subject = self.fact("subject").as_str()?;
        Some((hash.to_owned(), format!("{subject} {key}")))
    }
}

/// Receives until it is dropped.
pub(crate) struct Hook {
    url: String,
    told: Arc<Mutex<Vec<Told>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Hook {
    pub(crate) async fn start() -> eyre::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/hook", listener.local_addr()?);
        let told: Arc<Mutex<Vec<Told>>> = Arc::default();
        let heard = Arc::clone(&told);
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, Arc::clone(&heard)));
            }
        });
        Ok(Self { url, told, task })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What watches told, in the order of arrival.
    pub(crate) fn told(&self) -> Vec<Told> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.iter().filter(|told| told.what().is_some()).cloned().collect()
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: TcpStream, heard: Arc<Mutex<Vec<Told>>>) {
    let mut socket = BufReader::new(socket);
    while let Some(message) = hear(&mut socket).await {
        let told = Told {
            message,
            at: Instant::now(),
        };
        heard.lock().unwrap_or_else(PoisonError::into_inner).push(told);
        if socket.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.is_err() {
            return;
        }
    }
}

async fn hear(socket: &mut BufReader<TcpStream>) -> Option<Value> {
    let mut length = 0_usize;
    loop {
        let mut line = String::new();
        if socket.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.trim().parse().ok()?,
            Some(_) => {}
            None if line.trim_end().is_empty() => break,
            None => {}
        }
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await.ok()?;
    serde_json::from_slice(&body).ok()
}
