//! Compact form of what is stored many times: verdicts, scopes, witnesses, big integers.
//!
//! All verdicts of a block: one format byte (1), then per verdict the rule (2 bytes), verdict (1), reason (1), number of
//! witness words (1), each word and the two operands as length byte and big-endian bytes without leading zeros; bit 7 of an
//! operand's length byte is its sign.

use alloy::primitives::{B256, U256};
use cordon_core::level::Level;
use cordon_core::rule::eval::Verdict;
use cordon_core::rule::value::Int;

use super::StoreError;
use crate::decide::{Reading, RuleVerdict, ScopeReading};

const FORMAT: u8 = 1;
const NEGATIVE: u8 = 0x80;
/// More words than any rule has parameters.
const MAX_WORDS: usize = 255;

/// Packs the verdicts of a block. Witnesses beyond 255 words do not exist; such a verdict is left out.
#[must_use]
pub fn encode_verdicts(verdicts: &[RuleVerdict]) -> Vec<u8> {
    let mut out = vec![FORMAT];
    for verdict in verdicts {
        let Ok(words) = u8::try_from(verdict.witness.len()) else {
            continue;
        };
        out.extend(verdict.rule.to_be_bytes());
        out.extend([verdict.reading.verdict as u8, verdict.reading.reason, words]);
        for word in &verdict.witness {
            put(&mut out, false, (*word).into());
        }
        put(
            &mut out,
            verdict.reading.observed.negative,
            verdict.reading.observed.magnitude,
        );
        put(
            &mut out,
            verdict.reading.bound.negative,
            verdict.reading.bound.magnitude,
        );
    }
    out
}

fn put(out: &mut Vec<u8>, negative: bool, magnitude: U256) {
    let bytes = magnitude.to_be_bytes_trimmed_vec();
    // At most 32, so that the sign bit is free.
    let length = u8::try_from(bytes.len()).unwrap_or_default();
    out.push(if negative { length | NEGATIVE } else { length });
    out.extend(bytes);
}

/// Unpacks what [`encode_verdicts`] packed.
///
/// # Errors
/// [`StoreError::Damaged`] for anything else.
pub fn decode_verdicts(bytes: &[u8]) -> Result<Vec<RuleVerdict>, StoreError> {
    let damaged = || StoreError::Damaged {
        what: "list of verdicts",
    };
    let mut reader = Reader(bytes);
    if reader.byte().ok_or_else(damaged)? != FORMAT {
        return Err(damaged());
    }
    let mut verdicts = Vec::new();
    while !reader.0.is_empty() {
        verdicts.push(reader.verdict().ok_or_else(damaged)?);
    }
    Ok(verdicts)
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn int(&mut self) -> Option<Int> {
        let head = self.byte()?;
        let length = usize::from(head & !NEGATIVE);
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(Int::new(head & NEGATIVE != 0, U256::try_from_be_slice(bytes)?))
    }

    fn verdict(&mut self) -> Option<RuleVerdict> {
        let rule = u16::from_be_bytes([self.byte()?, self.byte()?]);
        let verdict = verdict_from(self.byte()?)?;
        let reason = self.byte()?;
        let words = self.byte()?;
        let witness = (0..words)
            .map(|_| Some(B256::from(self.int()?.magnitude)))
            .collect::<Option<Vec<_>>>()?;
        Some(RuleVerdict {
            rule,
            witness,
            reading: Reading {
                verdict,
                reason,
                observed: self.int()?,
                bound: self.int()?,
            },
        })
    }
}

/// The verdict of that number.
pub(crate) fn verdict_from(number: u8) -> Option<Verdict> {
    match number {
        0 => Some(Verdict::Holds),
        1 => Some(Verdict::Breached),
        2 => Some(Verdict::Unknown),
        _ => None,
    }
}

/// Scopes of a block: 11 bytes each.
pub(super) fn encode_scopes(scopes: &[ScopeReading]) -> Vec<u8> {
    scopes
        .iter()
        .flat_map(|scope| {
            let mut bytes = [scope.scope, scope.level as u8, flags(scope), 0, 0, 0, 0, 0, 0, 0, 0];
            for (to, from) in bytes.iter_mut().skip(3).zip(scope.expires_at.to_be_bytes()) {
                *to = from;
            }
            bytes
        })
        .collect()
}

fn flags(scope: &ScopeReading) -> u8 {
    u8::from(scope.applied) | u8::from(scope.releasing) << 1 | u8::from(scope.incident) << 2
}

pub(super) fn decode_scopes(bytes: &[u8]) -> Result<Vec<ScopeReading>, StoreError> {
    let damaged = || StoreError::Damaged { what: "list of scopes" };
    let (chunks, rest) = bytes.as_chunks::<11>();
    if !rest.is_empty() {
        return Err(damaged());
    }
    chunks
        .iter()
        .map(|[scope, level, flags, expiry @ ..]| {
            Ok(ScopeReading {
                scope: *scope,
                level: Level::from_u8(*level).ok_or_else(damaged)?,
                expires_at: u64::from_be_bytes(*expiry),
                applied: *flags & 1 != 0,
                releasing: *flags & 2 != 0,
                incident: *flags & 4 != 0,
                state: None,
            })
        })
        .collect()
}

pub(super) fn encode_words(words: &[B256]) -> Vec<u8> {
    words.iter().take(MAX_WORDS).flat_map(|word| word.0).collect()
}

pub(super) fn decode_words(bytes: &[u8]) -> Result<Vec<B256>, StoreError> {
    let (words, rest) = bytes.as_chunks::<32>();
    if !rest.is_empty() {
        return Err(StoreError::Damaged { what: "witness" });
    }
    Ok(words.iter().map(|word| B256::from(*word)).collect())
}

pub(super) fn int_text(int: Int) -> String {
    format!("{}{}", if int.negative { "-" } else { "" }, int.magnitude)
}

pub(super) fn int_from_text(text: &str) -> Result<Int, StoreError> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let magnitude = U256::from_str_radix(digits, 10).map_err(|_| StoreError::Damaged { what: "integer" })?;
    Ok(Int::new(negative, magnitude))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn any_int()(negative: bool, bytes: [u8; 32], width in 0usize..=32) -> Int {
            Int::new(negative, U256::try_from_be_slice(bytes.get(..width).unwrap()).unwrap())
        }
    }

    prop_compose! {
        fn any_verdict()(rule: u16, kind in 0u8..3, reason: u8, words in prop::collection::vec(any::<[u8; 32]>(), 0..4),
            observed in any_int(), bound in any_int()) -> RuleVerdict {
            RuleVerdict { rule, witness: words.into_iter().map(B256::from).collect(),
                reading: Reading { verdict: verdict_from(kind).unwrap(), reason, observed, bound } }
        }
    }

    proptest! {
        #[test]
        fn verdicts_come_back(verdicts in prop::collection::vec(any_verdict(), 0..20)) {
            prop_assert_eq!(decode_verdicts(&encode_verdicts(&verdicts)).unwrap(), verdicts);
        }

        #[test]
        fn damage_is_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(verdicts) = decode_verdicts(&bytes) {
                prop_assert!(verdicts.len() <= bytes.len() / 7);
            }
            let _ = decode_scopes(&bytes);
        }

        #[test]
        fn integers_come_back(int in any_int()) {
            prop_assert_eq!(int_from_text(&int_text(int)).unwrap(), int);
        }

        #[test]
        fn scopes_come_back(scope: u8, level in 0u8..5, expires_at: u64, applied: bool, releasing: bool, incident: bool) {
            let scopes = vec![ScopeReading { scope, level: Level::from_u8(level).unwrap(), expires_at, applied, releasing, incident, state: None }; 3];
            prop_assert_eq!(decode_scopes(&encode_scopes(&scopes)).unwrap(), scopes);
        }
    }

    #[test]
    fn a_verdict_that_holds_takes_few_bytes() {
        let reading = Reading {
            verdict: Verdict::Holds,
            reason: 0,
            observed: Int::from(1_000_000),
            bound: Int::from(999),
        };
        let verdicts = vec![
            RuleVerdict {
                rule: 3,
                witness: vec![],
                reading
            };
            10
        ];
        assert_eq!(encode_verdicts(&verdicts).len(), 1 + 10 * 12);
    }
}
