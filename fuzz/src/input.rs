//! Inputs out of numbers: the same seed and case give the same bytes on every machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Longest input that is made, in bytes.
pub const MAX_LEN: usize = 8 << 10;
/// Most changes to one input.
const MAX_CHANGES: u64 = 8;
/// Numbers at which something may change.
const INTERESTING: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    u64::MAX,
];

/// SplitMix64: small, and good enough to make inputs.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of `case` in the run of `seed`.
    pub const fn new(seed: u64, case: u64) -> Self {
        Self(seed ^ case.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX);
        usize::try_from(self.next() % bound).unwrap_or_default()
    }

    /// `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend(self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

/// The files of a target's corpus, in the order of their names.
///
/// # Errors
/// They cannot be read.
pub fn corpus(target: &str) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut paths = fs::read_dir(directory)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    paths
        .into_iter()
        .map(|path| fs::read(&path).map(|bytes| (path, bytes)))
        .collect()
}

/// The input of `case` in the run of `seed`: bytes out of nowhere, or something of the corpus, changed.
pub fn make(seed: u64, case: u64, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut random = Random::new(seed, case);
    if corpus.is_empty() || random.below(6) == 0 {
        let len = 1 << random.below(13);
        let len = random.below(len) + 1;
        return random.bytes(len);
    }
    let mut input = corpus[random.below(corpus.len())].clone();
    if random.below(5) == 0 {
        splice(&mut input, &corpus[random.below(corpus.len())], &mut random);
    }
    for _ in 0..=random.next() % MAX_CHANGES {
        change(&mut input, &mut random);
    }
    input.truncate(MAX_LEN);
    input
}

/// The beginning of one and the end of another.
fn splice(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    input.truncate(random.below(input.len() + 1));
    input.extend_from_slice(&other[random.below(other.len() + 1)..]);
}

fn change(input: &mut Vec<u8>, random: &mut Random) {
    if input.is_empty() {
        *input = random.bytes(16);
        return;
    }
    let at = random.below(input.len());
    match random.below(8) {
        0 => input[at] ^= 1 << random.below(8),
        1 | 2 => input[at] = random.next().to_le_bytes()[0],
        3 => {
            let number = INTERESTING[random.below(INTERESTING.len())].to_le_bytes();
            let size = 1 << random.below(4);
            for (byte, new) in input[at..].iter_mut().zip(&number[..size]) {
                *byte = *new;
            }
        }
        4 => {
            let size = random.below(32) + 1;
            let new = random.bytes(size);
            input.splice(at..at, new);
        }
        5 => {
            let end = (at + random.below(32) + 1).min(input.len());
            input.drain(at..end);
        }
        6 => {
            let end = (at + random.below(64) + 1).min(input.len());
            let copy = input[at..end].to_vec();
            let to = random.below(input.len());
            input.splice(to..to, copy);
        }
        _ => input[at] = input[at].wrapping_add(if random.next() & 1 == 0 { 1 } else { 255 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_bounded_and_repeatable() {
        let corpus = [vec![7; 6_000], b"seed".to_vec(), Vec::new()];
        let mut seen = std::collections::HashSet::new();
        for case in 0..2_000 {
            let input = make(1, case, &corpus);
            assert!(input.len() <= MAX_LEN);
            assert_eq!(input, make(1, case, &corpus));
            seen.insert(input);
        }
        assert!(seen.len() > 1_500, "{}", seen.len());
        assert_ne!(make(1, 3, &corpus), make(2, 3, &corpus));
    }
}
