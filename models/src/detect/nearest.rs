//! The smallest of many distances, computed several at a time in the widest vectors that the processor has.

use std::ops::Range;

use fearless_simd::{Level, Simd, dispatch, prelude::*};

/// How many of the nearest stretches are averaged.
const NEAREST: usize = 3;

/// How many vectors make a block, which is summed up at once.
const VECTORS: usize = 4;

/// The numbers of the largest block, in vectors of 512 bits.
const LARGEST_BLOCK: usize = VECTORS * 16;

/// The smallest squared distances, in ascending order; infinite where there are fewer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nearest([f32; NEAREST]);

/// Numbers, the newest last.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// Ends with as many zeros as a block has numbers, so that every block is a full one.
    padded: Vec<f32>,
    level: Level,
}

impl Nearest {
    const NONE: Self = Self([f32::INFINITY; NEAREST]);

    fn worst(&self) -> f32 {
        self.0[NEAREST - 1]
    }

    fn put(&mut self, square: f32) {
        if square < self.worst() {
            let [least, middle, _] = self.0;
            self.0 = [least.min(square), middle.min(least.max(square)), middle.max(square)];
        }
    }

    // Rarely needed, and kept out of the loop, whose sums stay in registers so.
    #[cold]
    #[inline(never)]
    fn put_all(&mut self, squares: &[f32]) {
        squares.iter().for_each(|square| self.put(*square));
    }

    /// The mean distance a point, of squared distances over `length` points; 0 where there are none.
    pub(super) fn mean(&self, length: usize) -> f64 {
        let found = self.0.iter().filter(|square| square.is_finite());
        let (sum, count) =
            found.fold((0.0, 0.0), |(sum, count), square| (sum + f64::from(*square).sqrt(), count + 1.0));
        if count == 0.0 { 0.0 } else { sum / count / (length as f64).sqrt() }
    }
}

impl Row {
    /// Without numbers.
    pub(super) fn new() -> Self {
        Self::with(Level::new())
    }

    fn with(level: Level) -> Self {
        Self { padded: vec![0.0; LARGEST_BLOCK], level }
    }

    /// The numbers.
    pub(super) fn numbers(&self) -> &[f32] {
        &self.padded[..self.padded.len() - LARGEST_BLOCK]
    }

    /// Adds the newest.
    pub(super) fn push(&mut self, number: f32) {
        let end = self.numbers().len();
        self.padded[end] = number;
        self.padded.push(0.0);
    }

    /// Forgets the oldest `count`.
    pub(super) fn forget(&mut self, count: usize) {
        self.padded.drain(..count);
    }

    /// Makes the newest `count` numbers `number`.
    pub(super) fn fill_last(&mut self, count: usize, number: f32) {
        let end = self.numbers().len();
        self.padded[end.saturating_sub(count)..end].fill(number);
    }

    /// The smallest squared Euclidean distances of the 3, 5, 10 and 20 first numbers of `recent`, which has the newest first,
    /// from stretches that end at `first`, which is at least 19, and later. `ends`, in descending order, says for each length
    /// before which index the last of them ends. `further` is added to the squares of what ends there, a number each.
    pub(super) fn nearest_short(
        &self,
        further: &Row,
        recent: &[f32; 20],
        first: usize,
        ends: [usize; 4],
    ) -> [Nearest; 4] {
        dispatch!(self.level, simd => short(simd, [&self.padded, &further.padded], recent, first, ends))
    }

    /// The same of 12 numbers that are `stride` apart in the row, from stretches that end at `first`, which is at least 11
    /// strides, and later, but before `end`.
    pub(super) fn nearest_long(
        &self,
        further: &Row,
        recent: &[f32; 12],
        stride: usize,
        first: usize,
        end: usize,
    ) -> Nearest {
        dispatch!(self.level, simd => long(simd, [&self.padded, &further.padded], recent, stride, first..end))
    }
}

/// The squared distances of so many stretches that end one after the other.
#[derive(Clone, Copy)]
struct Block<S: Simd> {
    simd: S,
    sums: [S::f32s; VECTORS],
}

impl<S: Simd> Block<S> {
    const SIZE: usize = VECTORS * S::f32s::LEN;

    #[inline(always)]
    fn new(simd: S, further: &[f32]) -> Self {
        let vector = |at: usize| S::f32s::from_slice(simd, &further[at * S::f32s::LEN..][..S::f32s::LEN]);
        Self { simd, sums: std::array::from_fn(vector) }
    }

    /// Adds `COUNT` more numbers of the query, after the first `from`; `others` begins with those that each is compared with.
    #[inline(always)]
    fn add<'a, const COUNT: usize>(
        &mut self,
        recent: &[f32],
        from: usize,
        others: impl Fn(usize) -> &'a [f32],
    ) -> &mut Self {
        for (back, recent) in recent[from..from + COUNT].iter().enumerate() {
            let others = others(from + back)[..Self::SIZE].chunks_exact(S::f32s::LEN);
            for (sum, others) in self.sums.iter_mut().zip(others) {
                let difference = S::f32s::from_slice(self.simd, others) - *recent;
                *sum = difference.mul_add(difference, *sum);
            }
        }
        self
    }

    /// Gives the first `count` squares to `nearest`; whether any is below `far`, so that it is worth adding more to it.
    #[inline(always)]
    fn give(&mut self, nearest: &mut Nearest, count: usize, far: f32) -> bool {
        let least = self.sums[1..].iter().fold(self.sums[0], |least, sum| least.min(*sum));
        if !self.is_below(least, far) {
            return false;
        }
        if count > 0 && self.is_below(least, nearest.worst()) {
            // A copy, so that the sums themselves stay in registers.
            let sums = self.sums;
            for (sum, place) in sums.iter().zip((0..count).step_by(S::f32s::LEN)) {
                if self.is_below(*sum, nearest.worst()) {
                    nearest.put_all(&sum.as_slice()[..S::f32s::LEN.min(count - place)]);
                }
            }
        }
        true
    }

    #[inline(always)]
    fn is_below(&self, numbers: S::f32s, limit: f32) -> bool {
        numbers.simd_lt(S::f32s::splat(self.simd, limit)).any_true()
    }
}

/// The newest come first: they are the most like the query where a series drifts.
#[inline(always)]
fn short<S: Simd>(
    simd: S,
    [padded, further]: [&[f32]; 2],
    recent: &[f32; 20],
    first: usize,
    ends: [usize; 4],
) -> [Nearest; 4] {
    let mut nearest = [Nearest::NONE; 4];
    for first in (first..ends[0]).step_by(Block::<S>::SIZE).rev() {
        let [a, b, c, d] = ends.map(|end| end.saturating_sub(first));
        // A square never falls where more numbers are added, and the nearest of the longest stretches are the farthest.
        let far = nearest[if d > 0 { 3 } else { 2 }].worst();
        let window = &padded[first - 19..first + Block::<S>::SIZE];
        let others = |back: usize| &window[19 - back..];
        let mut block = Block::new(simd, &further[first..]);
        let _ = block.add::<3>(recent, 0, others).give(&mut nearest[0], a, far)
            && block.add::<2>(recent, 3, others).give(&mut nearest[1], b, far)
            && block.add::<5>(recent, 5, others).give(&mut nearest[2], c, far)
            && d > 0
            && block.add::<10>(recent, 10, others).give(&mut nearest[3], d, far);
    }
    nearest
}

#[inline(always)]
fn long<S: Simd>(
    simd: S,
    [padded, further]: [&[f32]; 2],
    recent: &[f32; 12],
    stride: usize,
    ends: Range<usize>,
) -> Nearest {
    let mut nearest = Nearest::NONE;
    let end = ends.end;
    for first in ends.step_by(Block::<S>::SIZE).rev() {
        let far = nearest.worst();
        let others = |back: usize| &padded[first - back * stride..];
        let mut block = Block::new(simd, &further[first..]);
        let _ = block.add::<3>(recent, 0, others).give(&mut nearest, 0, far)
            && block.add::<9>(recent, 3, others).give(&mut nearest, end - first, far);
    }
    nearest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of a row at an index.
    type Number = fn(usize) -> f32;

    fn noise(at: usize) -> f32 {
        ((at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / (1 << 24) as f32
    }

    /// How much further away what ends at an index is: some things are, and some are not there at all.
    fn further(at: usize) -> f32 {
        if at % 11 == 5 { f32::INFINITY } else { [0.0, 0.0, 0.25][at % 3] }
    }

    /// By the definition, in double precision.
    fn expected(numbers: &[f32], recent: &[f32], stride: usize, ends: Range<usize>) -> [f64; NEAREST] {
        let square = |end: usize| -> f64 {
            let differences = recent.iter().enumerate().map(|(at, number)| number - numbers[end - at * stride]);
            differences.map(|difference| f64::from(difference).powi(2)).sum::<f64>() + f64::from(further(end))
        };
        let mut all: Vec<f64> = ends.map(square).chain([f64::INFINITY; NEAREST]).collect();
        all.sort_by(f64::total_cmp);
        [all[0], all[1], all[2]]
    }

    /// With the narrowest and the widest vectors of this processor, within a millionth.
    fn check(what: &str, number: impl Fn(usize) -> f32, count: usize, stride: usize, ends: [usize; 4]) {
        for level in [Level::baseline(), Level::new()] {
            let (mut row, mut away) = (Row::with(level), Row::with(level));
            (0..count).for_each(|at| row.push(number(at)));
            (0..count).for_each(|at| away.push(further(at)));
            let numbers = row.numbers();
            let recent: [f32; 20] = std::array::from_fn(|back| numbers[count - 1 - back]);
            let short = row.nearest_short(&away, &recent, 19, ends);
            let apart: [f32; 12] = std::array::from_fn(|back| numbers[(count - 1).saturating_sub(back * stride)]);
            let long = row.nearest_long(&away, &apart, stride, 11 * stride, ends[3]);
            let short = short.into_iter().zip([3, 5, 10, 20]).zip(ends);
            let rows = short.map(|((found, length), end)| (found, expected(numbers, &recent[..length], 1, 19..end)));
            let long = (long, expected(numbers, &apart, stride, 11 * stride..ends[3]));
            for (found, expected) in rows.chain([long]) {
                for (square, wanted) in found.0.into_iter().map(f64::from).zip(expected) {
                    let is_right = square == wanted || (square / wanted - 1.0).abs() < 1e-6;
                    assert!(is_right, "{what}, {count}, {stride}, {ends:?}, {level:?}: {found:?}, not {expected:?}");
                }
            }
        }
    }

    #[test]
    fn the_nearest_are_those_of_the_definition() {
        let rows: [(&str, Number); 5] = [
            ("noise", noise),
            ("a wave", |at| (at as f32 / 24.0).sin() + 0.1 * noise(at)),
            ("a drift", |at| at as f32 + noise(at)),
            ("a constant", |_| 3.0),
            ("the largest numbers", |at| if at.is_multiple_of(10) { 1e15 } else { -1e15 }),
        ];
        for (what, number) in rows {
            check(what, number, 1000, 1, [997, 995, 990, 712]);
            check(what, number, 1000, 7, [997, 995, 990, 980]);
            check(what, number, 333, 5, [300, 200, 199, 100]);
            check(what, number, 70, 1, [66, 65, 60, 50]);
            check(what, number, 70, 1, [66, 65, 60, 0]);
            check(what, number, 40, 3, [37, 35, 30, 20]);
            check(what, number, 30, 1, [20, 19, 18, 0]);
            check(what, number, 20, 1, [0; 4]);
        }
    }

    #[test]
    fn what_is_forgotten_is_not_found() {
        let (mut row, mut nowhere) = (Row::new(), Row::new());
        (0..500).for_each(|at| row.push(if at < 100 { 0.0 } else { 1.0 + noise(at) }));
        (0..500).for_each(|_| nowhere.push(0.0));
        assert!(row.nearest_short(&nowhere, &[0.0; 20], 19, [400; 4]).iter().all(|nearest| nearest.mean(1) == 0.0));
        row.forget(100);
        assert_eq!(row.numbers().len(), 400);
        assert!(row.nearest_short(&nowhere, &[0.0; 20], 19, [400; 4]).iter().all(|nearest| nearest.mean(1) > 1.0));
    }
}
