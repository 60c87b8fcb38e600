//! Picks one of the best nodes, each with the same chance.

use hansa_extension::bitmap;
use hansa_extension::scheduler::Ix;

/// A small generator of evenly spread numbers (SplitMix64); no secrets depend on it.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice that roll the same numbers for the same seed.
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }

    /// One of the feasible nodes with the highest total, with that total.
    pub fn pick(&mut self, feasible: &[u8], totals: &[u64]) -> Option<(Ix, u64)> {
        let mut best: Option<(Ix, u64)> = None;
        let mut ties = 0;
        for node in bitmap::ones(feasible) {
            let total = totals.get(node as usize).copied().unwrap_or(0);
            match best {
                Some((_, highest)) if total < highest => {}
                Some((_, highest)) if total == highest => {
                    ties += 1;
                    if self.below(ties) == 0 {
                        best = Some((node, total));
                    }
                }
                _ => (best, ties) = (Some((node, total)), 1),
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_feasible_node_wins_and_ties_are_shared_out() {
        let (mut dice, mut wins) = (Dice::new(7), [0u32; 4]);
        for _ in 0..3000 {
            let (node, total) = dice.pick(&[0b1111], &[5, 9, 9, 9]).expect("four are feasible");
            assert_eq!(total, 9);
            wins[node as usize] += 1;
        }
        assert_eq!(wins[0], 0);
        assert!(wins[1..].iter().all(|n| (800..1200).contains(n)), "{wins:?}");
        assert_eq!(dice.pick(&[0b0001], &[5, 9, 9, 9]), Some((0, 5)));
        assert_eq!(dice.pick(&[0], &[5]), None);
    }
}
