//! When accidents happen.

use std::time::Duration;

/// Chooses moments, the same ones in every run of the tests.
pub(super) struct Moments(pub(super) u64);

impl Moments {
    /// A moment before a time has passed, by splitmix64.
    pub(super) fn within(&mut self, time: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let permille = u32::try_from((mixed ^ (mixed >> 31)) % 1000).expect("small");
        time * permille / 1000
    }
}
