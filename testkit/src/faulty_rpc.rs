//! An endpoint whose faults are set per method, while it runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::{Fault, RpcProxy};

#[derive(Debug, Default)]
struct Methods {
    faults: BTreeMap<String, Fault>,
    asked: BTreeMap<String, usize>,
}

/// In front of an endpoint; answers as it does until told otherwise. It ends with this value.
#[derive(Debug)]
pub struct FaultyRpc {
    proxy: RpcProxy,
    methods: Arc<Mutex<Methods>>,
}

impl FaultyRpc {
    /// A proxy in front of `upstream` (`http://host:port`).
    ///
    /// # Errors
    /// When no port can be listened on.
    pub async fn start(upstream: &str) -> std::io::Result<Self> {
        let methods = Arc::<Mutex<Methods>>::default();
        let shared = Arc::clone(&methods);
        let plan = move |_: usize, body: &str| {
            let request: Value = serde_json::from_str(body).unwrap_or_default();
            let method = request.get("method").and_then(Value::as_str).unwrap_or_default();
            let mut methods = shared.lock().unwrap_or_else(PoisonError::into_inner);
            let count = methods.asked.entry(method.to_owned()).or_default();
            *count = count.saturating_add(1);
            methods.faults.get(method).cloned().unwrap_or(Fault::None)
        };
        let proxy = RpcProxy::start(upstream, plan).await?;
        Ok(Self { proxy, methods })
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        self.proxy.url()
    }

    /// From now on it stands in front of another endpoint.
    pub fn move_to(&self, upstream: &str) {
        self.proxy.move_to(upstream);
    }

    /// From now on requests of this method meet this fault.
    pub fn fault(&self, method: &str, fault: Fault) {
        let mut methods = self.methods.lock().unwrap_or_else(PoisonError::into_inner);
        methods.faults.insert(method.to_owned(), fault);
    }

    /// From now on everything is answered.
    pub fn heal(&self) {
        let mut methods = self.methods.lock().unwrap_or_else(PoisonError::into_inner);
        methods.faults.clear();
    }

    /// How often a method was asked, other than in batches.
    #[must_use]
    pub fn count(&self, method: &str) -> usize {
        let methods = self.methods.lock().unwrap_or_else(PoisonError::into_inner);
        methods.asked.get(method).copied().unwrap_or_default()
    }
}
