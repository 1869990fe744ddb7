//! Numbers that a seed decides.

/// SplitMix64: <https://prng.di.unimi.it/splitmix64.c>
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    /// Every number below `count`, and so many of them a second time, in any order.
    pub fn deliveries(&mut self, count: u64, again: u64) -> Vec<u64> {
        let mut deliveries: Vec<u64> = (0..count).collect();
        deliveries.extend((0..again).map(|_| self.below(count)));
        for at in (1..deliveries.len()).rev() {
            deliveries.swap(at, usize::try_from(self.below(at as u64 + 1)).unwrap());
        }
        deliveries
    }
}
