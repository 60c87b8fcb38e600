//! Bitmaps over dense indices: bit `i` is bit `i % 8` of byte `i / 8`.

/// Bytes that hold `bits` bits.
pub const fn len_for(bits: usize) -> usize {
    bits.div_ceil(8)
}

/// Whether bit `ix` is set; false beyond the end.
#[inline]
pub fn get(map: &[u8], ix: usize) -> bool {
    map.get(ix / 8).is_some_and(|byte| byte >> (ix % 8) & 1 == 1)
}

/// Sets bit `ix`, which must be inside.
#[inline]
pub fn set(map: &mut [u8], ix: usize) {
    map[ix / 8] |= 1 << (ix % 8);
}

/// Clears bit `ix`; beyond the end there is nothing to clear.
#[inline]
pub fn clear(map: &mut [u8], ix: usize) {
    if let Some(byte) = map.get_mut(ix / 8) {
        *byte &= !(1 << (ix % 8));
    }
}

/// The indices of the set bits, ascending.
pub fn ones(map: &[u8]) -> impl Iterator<Item = usize> + '_ {
    map.iter().enumerate().flat_map(|(i, byte)| Bits { byte: *byte, base: i * 8 })
}

/// The set bits of one byte.
struct Bits {
    byte: u8,
    base: usize,
}

impl Iterator for Bits {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.byte == 0 {
            return None;
        }
        let bit = self.byte.trailing_zeros() as usize;
        self.byte &= self.byte - 1;
        Some(self.base + bit)
    }
}

/// Keeps of `candidates` those that pass `test`. Whole bytes are tested without a branch per bit:
/// interruption checks at loop ends would cost more than the test itself.
#[inline]
pub fn keep(candidates: &[u8], mut test: impl FnMut(usize) -> bool) -> Vec<u8> {
    let mut kept = vec![0u8; candidates.len()];
    for (i, (byte, out)) in candidates.iter().zip(&mut kept).enumerate() {
        let base = i * 8;
        match *byte {
            0 => {}
            0xff => {
                *out = u8::from(test(base))
                    | u8::from(test(base + 1)) << 1
                    | u8::from(test(base + 2)) << 2
                    | u8::from(test(base + 3)) << 3
                    | u8::from(test(base + 4)) << 4
                    | u8::from(test(base + 5)) << 5
                    | u8::from(test(base + 6)) << 6
                    | u8::from(test(base + 7)) << 7;
            }
            some => {
                for ix in (Bits { byte: some, base }) {
                    *out |= u8::from(test(ix)) << (ix % 8);
                }
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keep_asks_only_about_candidates_and_answers_bit_by_bit() {
        let candidates = [0xff, 0, 0b1010];
        let mut asked = Vec::new();
        let kept = keep(&candidates, |ix| {
            asked.push(ix);
            ix % 3 == 0
        });
        assert_eq!(asked, ones(&candidates).collect::<Vec<_>>());
        assert_eq!(ones(&kept).collect::<Vec<_>>(), vec![0, 3, 6]);
    }
}
