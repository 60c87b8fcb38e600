//! Bitmaps over dense indices: bit `i` is bit `i % 8` of byte `i / 8`.

/// Bytes that hold `bits` bits.
pub const fn len_for(bits: usize) -> usize {
    bits.div_ceil(8)
}

/// A bitmap with the first `bits` bits set.
pub fn full(bits: usize) -> Vec<u8> {
    let mut map = vec![0xff; len_for(bits)];
    if let Some(last) = map.last_mut()
        && !bits.is_multiple_of(8)
    {
        *last = (1u8 << (bits % 8)) - 1;
    }
    map
}

/// A bitmap of `bits` bits with exactly `ones` set; indices beyond `bits` are left out.
pub fn of(bits: usize, ones: impl IntoIterator<Item = u32>) -> Vec<u8> {
    let mut map = vec![0; len_for(bits)];
    for ix in ones.into_iter().filter(|ix| (*ix as usize) < bits) {
        set(&mut map, ix);
    }
    map
}

/// Whether bit `ix` is set; false beyond the end.
pub fn get(map: &[u8], ix: u32) -> bool {
    map.get(ix as usize / 8).is_some_and(|byte| byte >> (ix % 8) & 1 == 1)
}

/// Sets bit `ix`, growing the map if needed.
pub fn set(map: &mut Vec<u8>, ix: u32) {
    let byte = ix as usize / 8;
    if byte >= map.len() {
        map.resize(byte + 1, 0);
    }
    map[byte] |= 1 << (ix % 8);
}

/// Clears bit `ix`.
pub fn clear(map: &mut [u8], ix: u32) {
    if let Some(byte) = map.get_mut(ix as usize / 8) {
        *byte &= !(1 << (ix % 8));
    }
}

/// Keeps in `map` only what is in `other` too; beyond the end of `other` nothing is kept.
pub fn and(map: &mut [u8], other: &[u8]) {
    for (i, byte) in map.iter_mut().enumerate() {
        *byte &= other.get(i).copied().unwrap_or(0);
    }
}

/// Whether every bit of `inner` is set in `outer`.
pub fn is_subset(inner: &[u8], outer: &[u8]) -> bool {
    inner.iter().enumerate().all(|(i, byte)| byte & !outer.get(i).copied().unwrap_or(0) == 0)
}

/// How many bits are set.
pub fn count(map: &[u8]) -> usize {
    map.iter().map(|byte| byte.count_ones() as usize).sum()
}

/// The indices of the set bits, ascending.
pub fn ones(map: &[u8]) -> impl Iterator<Item = u32> + '_ {
    map.iter().enumerate().flat_map(|(i, byte)| {
        let byte = *byte;
        (0..8u32).filter(move |bit| byte >> bit & 1 == 1).map(move |bit| i as u32 * 8 + bit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_byte_of_a_full_map_has_no_stray_bits() {
        assert_eq!(full(11), vec![0xff, 0b111]);
        assert_eq!(count(&full(5000)), 5000);
        assert_eq!(full(0), Vec::<u8>::new());
    }

    #[test]
    fn ones_lists_what_was_set() {
        let mut map = of(20, [0, 7, 8, 19, 20]);
        assert_eq!(ones(&map).collect::<Vec<_>>(), vec![0, 7, 8, 19]);
        clear(&mut map, 8);
        assert!(!get(&map, 8) && get(&map, 19) && !get(&map, 4000));
    }

    #[test]
    fn and_drops_what_the_shorter_map_does_not_cover() {
        let mut map = full(16);
        and(&mut map, &[0b101]);
        assert_eq!(ones(&map).collect::<Vec<_>>(), vec![0, 2]);
        assert!(is_subset(&[0b100], &map) && !is_subset(&[0, 1], &map));
    }
}
