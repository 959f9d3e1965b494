//! Where a walk takes its choices from: a list of numbers, made up as they are asked for or replayed. A
//! walk that fails is shrunk by taking numbers away or making them smaller, whatever they stand for.

/// A list of choices. Beyond its end every choice is the first one.
#[derive(Debug, Clone)]
pub(crate) struct Draws {
    taken: Vec<u16>,
    place: usize,
    /// The state of the generator; `None` replays what is there.
    state: Option<u64>,
}

impl Draws {
    /// Choices that follow from a seed.
    pub(crate) fn seeded(seed: u64) -> Self {
        Self {
            taken: Vec::new(),
            place: 0,
            state: Some(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1)),
        }
    }

    /// Choices that were taken before.
    pub(crate) fn replayed(taken: &[u16]) -> Self {
        Self {
            taken: taken.to_vec(),
            place: 0,
            state: None,
        }
    }

    /// What was chosen so far.
    pub(crate) fn taken(&self) -> &[u16] {
        &self.taken[..self.place.min(self.taken.len())]
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let drawn = match (self.taken.get(self.place), &mut self.state) {
            (Some(drawn), _) => *drawn,
            (None, None) => 0,
            (None, Some(state)) => {
                // SplitMix64.
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut mixed = *state;
                mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                let drawn =
                    u16::try_from((mixed ^ (mixed >> 31)) % 10_000).expect("less than 10,000");
                self.taken.push(drawn);
                drawn
            }
        };
        self.place += 1;
        usize::from(drawn) % limit.max(1)
    }

    /// True once in so many times; the first choice is no.
    pub(crate) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == times - 1
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let place = self.below(from.len());
        from.get(place)
    }
}

/// The shortest list with which a walk still fails.
pub(crate) fn shrunk(taken: &[u16], fails: impl Fn(&[u16]) -> bool) -> Vec<u16> {
    let mut best = taken.to_vec();
    loop {
        let before = best.clone();
        let mut size = best.len() / 2;
        while size > 0 {
            let mut from = 0;
            while from < best.len() {
                let mut shorter = best.clone();
                shorter.drain(from..(from + size).min(best.len()));
                if fails(&shorter) {
                    best = shorter;
                } else {
                    from += size;
                }
            }
            size /= 2;
        }
        for place in 0..best.len() {
            for smaller in [0, best[place] % 10, best[place] % 100, best[place] / 2] {
                if smaller < best[place] {
                    let mut other = best.clone();
                    other[place] = smaller;
                    if fails(&other) {
                        best = other;
                    }
                }
            }
        }
        if best == before {
            return best;
        }
    }
}
