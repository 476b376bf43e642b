//! How scopes stand at a block, as most endpoints read them: one that lies, or invents the block, must not have an action taken for done
//! that was not, or given up.

use std::time::Duration;

use futures::future::{join_all, try_join_all};

use super::responder::Responder;
use crate::chain::{BlockRef, Rpc, lower_middle};
use crate::decide::ScopeReading;
use crate::record::AlarmKind;
use crate::rules::scope_at;

/// How long one endpoint's reading is waited for.
const PATIENCE: Duration = Duration::from_millis(500);

impl Responder {
    /// Each of the scopes and the protocol's scope at a block: of what the endpoints say of each that have the block, the level in the
    /// middle, the lower one of two. Those that have not come so far have no say.
    ///
    /// # Errors
    /// A sentence, when nobody answers, or as many endpoints have another block there.
    pub(super) async fn agreed_readings(&self, scopes: &[u8], block: &BlockRef) -> Result<Vec<ScopeReading>, String> {
        self.readings_by(1, scopes, block).await
    }

    /// The same, when at least so many of several endpoints say it.
    pub(super) async fn readings_by(
        &self,
        voices: usize,
        scopes: &[u8],
        block: &BlockRef,
    ) -> Result<Vec<ScopeReading>, String> {
        let mut wanted = scopes.to_vec();
        wanted.push(0);
        if self.rpc.endpoint_count() < 2 {
            let read = self.read(&self.rpc, &wanted, block).await;
            return read.map_err(|error| format!("the level could not be read back: {error}"));
        }
        let (same, other): (Vec<_>, Vec<_>) = self.rpc.each_at(block).await.into_iter().partition(|(_, _, has)| *has);
        if same.len() <= other.len() {
            let others: Vec<&str> = other.iter().map(|(name, ..)| name.as_str()).collect();
            return Err(match others.as_slice() {
                [] => format!("no endpoint has block {}", block.number),
                others => format!("{} has another block {}", others.join(", "), block.number),
            });
        }
        let reads = same.iter().map(|(name, rpc, _)| {
            let wanted = &wanted;
            async move {
                let read = tokio::time::timeout(PATIENCE, self.read(rpc, wanted, block)).await;
                Some((name.as_str(), read.ok()?.ok()?))
            }
        });
        let read: Vec<(&str, Vec<ScopeReading>)> = join_all(reads).await.into_iter().flatten().collect();
        if read.len() < voices {
            return Err(format!(
                "block {} is read by fewer than {voices} endpoints",
                block.number
            ));
        }
        let agreed = agree(&wanted, &read).ok_or("the level could not be read back: nobody answers")?;
        self.compare_levels(block, &agreed, &read).await;
        Ok(agreed)
    }

    async fn read(
        &self,
        rpc: &Rpc,
        scopes: &[u8],
        block: &BlockRef,
    ) -> Result<Vec<ScopeReading>, crate::chain::CallError> {
        let reads = scopes
            .iter()
            .map(|scope| scope_at(rpc, self.guard, block.hash.into(), *scope));
        try_join_all(reads).await
    }

    /// Names those that read another level of the same block.
    async fn compare_levels(&self, block: &BlockRef, agreed: &[ScopeReading], read: &[(&str, Vec<ScopeReading>)]) {
        for (name, own) in read {
            let differ = agreed.iter().zip(own).find(|(agreed, own)| agreed.level != own.level);
            let Some((agreed, own)) = differ else { continue };
            let text = format!(
                "at block {} ({}) {} is {} as {name} answers, and {} as others do: an endpoint gives wrong answers",
                block.number,
                block.hash,
                self.names.scope(own.scope),
                own.level.name(),
                agreed.level.name()
            );
            self.alarms
                .raise(AlarmKind::WrongAnswer, name, &text, Some(block.number))
                .await;
        }
    }
}

/// The reading in the middle of each scope, by level.
fn agree(scopes: &[u8], read: &[(&str, Vec<ScopeReading>)]) -> Option<Vec<ScopeReading>> {
    let middle = |at: usize| {
        let said = read.iter().enumerate().filter_map(|(who, (_, own))| {
            let reading = own.get(at)?;
            Some((reading.level.rank(), reading.expires_at, who))
        });
        let (_, _, who) = lower_middle(said.collect())?;
        read.get(who)?.1.get(at).copied()
    };
    (0..scopes.len()).map(middle).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cordon_core::level::Level;

    #[test]
    fn one_endpoint_that_lies_is_believed_by_nobody() {
        let say = |level: Level| {
            let own = ScopeReading {
                scope: 3,
                level,
                ..ScopeReading::default()
            };
            ("somebody", vec![own, ScopeReading::default()])
        };
        let of = |levels: &[Level]| {
            let read: Vec<_> = levels.iter().copied().map(say).collect();
            agree(&[3, 0], &read)?.first().map(|reading| reading.level)
        };
        use Level::{Halted, Normal};
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[Halted]), Some(Halted));
        assert_eq!(of(&[Halted, Normal]), Some(Normal), "one against one is not done");
        assert_eq!(of(&[Halted, Normal, Normal]), Some(Normal));
        assert_eq!(of(&[Halted, Normal, Halted]), Some(Halted));
    }
}
