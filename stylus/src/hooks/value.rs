//! Moving values between guest memory and the host.

use alloy_primitives::{Address, Bytes, U256};

use super::{Guest, Stop};

const OUT_OF_BOUNDS: Stop = Stop::Failure("memory access out of bounds");

/// A length as the guest sees it; nothing that long fits a 32-bit memory.
pub(super) fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

impl Guest<'_> {
    /// Argument `index` as a 64-bit number; zero when the function has no such parameter.
    pub(super) fn u64(&self, index: usize) -> u64 {
        self.args.get(index).copied().unwrap_or_default()
    }

    /// Argument `index` as a 32-bit number, a pointer or a length.
    pub(super) fn u32(&self, index: usize) -> u32 {
        u32::try_from(self.u64(index) & u64::from(u32::MAX)).unwrap_or_default()
    }

    /// `size` bytes at `pointer`.
    pub(super) fn read(&self, pointer: u32, size: u32) -> Result<&[u8], Stop> {
        let start = usize::try_from(pointer).map_err(|_| OUT_OF_BOUNDS)?;
        let size = usize::try_from(size).map_err(|_| OUT_OF_BOUNDS)?;
        let end = start.checked_add(size).ok_or(OUT_OF_BOUNDS)?;
        self.memory.get(start..end).ok_or(OUT_OF_BOUNDS)
    }

    /// A copy of `size` bytes at `pointer`.
    pub(super) fn bytes(&self, pointer: u32, size: u32) -> Result<Bytes, Stop> {
        self.read(pointer, size).map(Bytes::copy_from_slice)
    }

    /// A big-endian word.
    pub(super) fn word(&self, pointer: u32) -> Result<U256, Stop> {
        self.read(pointer, 32).map(U256::from_be_slice)
    }

    /// An address.
    pub(super) fn address(&self, pointer: u32) -> Result<Address, Stop> {
        self.read(pointer, 20).map(Address::from_slice)
    }

    /// Puts `bytes` at `pointer`.
    pub(super) fn write(&mut self, pointer: u32, bytes: &[u8]) -> Result<(), Stop> {
        let start = usize::try_from(pointer).map_err(|_| OUT_OF_BOUNDS)?;
        let end = start.checked_add(bytes.len()).ok_or(OUT_OF_BOUNDS)?;
        self.memory
            .get_mut(start..end)
            .ok_or(OUT_OF_BOUNDS)?
            .copy_from_slice(bytes);
        Ok(())
    }

    /// Puts a length, little endian, at `pointer`.
    pub(super) fn write_len(&mut self, pointer: u32, bytes: &[u8]) -> Result<(), Stop> {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.write(pointer, &len.to_le_bytes())
    }

    /// Puts a big-endian word at `pointer`.
    pub(super) fn write_word(&mut self, pointer: u32, word: U256) -> Result<(), Stop> {
        self.write(pointer, &word.to_be_bytes::<32>())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn accesses_are_bounded() {
        let mut memory = [0; 40];
        let mut guest = Guest {
            memory: &mut memory,
            args: &[u64::MAX, 7],
        };
        assert_eq!((guest.u32(0), guest.u32(1), guest.u32(2)), (u32::MAX, 7, 0));
        guest.write_word(8, U256::from(5)).unwrap();
        assert_eq!(guest.word(8).unwrap(), U256::from(5));
        assert_eq!(guest.word(9), Err(OUT_OF_BOUNDS));
        assert_eq!(guest.read(u32::MAX, u32::MAX), Err(OUT_OF_BOUNDS));
        assert_eq!(guest.read(40, 0).unwrap(), &[] as &[u8]);
        assert_eq!(guest.write(41, &[]), Err(OUT_OF_BOUNDS));
        guest.write_len(0, &[0; 258]).unwrap();
        assert_eq!(guest.read(0, 4).unwrap(), [2, 1, 0, 0]);
    }
}
