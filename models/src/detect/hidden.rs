//! Which points later ones are not compared with: an incident that comes again is one again.

/// What all parts together say of a point that is hidden, in usual scores.
const FAR: f64 = 12.0;

/// So many other points end what lasts.
const CALM: usize = 30;

/// The part of a week's points that may be hidden: more are how things are.
const MOST: f64 = 0.2;

/// What became of the newest point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Memory {
    /// It is compared with.
    Kept,
    /// It is not.
    Hidden,
    /// It has lasted so long, or come so often, that it is compared with, and so are those of the two days before it.
    Accepted,
}

/// What was hidden so far.
#[derive(Debug, Clone)]
pub(super) struct Hidden {
    day: usize,
    /// How many points were hidden since it began…
    lasts: usize,
    /// …and how many others came since the last of them.
    calm: usize,
    /// About how many points were hidden in the last week.
    week: f64,
}

impl Hidden {
    /// Nothing yet; `day` points make a day.
    pub(super) fn new(day: usize) -> Self {
        Self { day, lasts: 0, calm: 0, week: 0.0 }
    }

    /// Whether the newest point is hidden, of which all parts together say `together`.
    pub(super) fn push(&mut self, together: f64) -> Memory {
        let week = 7.0 * self.day as f64;
        self.week *= 1.0 - 1.0 / week;
        if together <= FAR {
            self.calm += 1;
            if self.calm > CALM {
                self.lasts = 0;
            }
            return Memory::Kept;
        }
        self.calm = 0;
        self.lasts += 1;
        self.week += 1.0;
        if self.lasts > self.day || self.week > MOST * week {
            self.lasts = 0;
            return Memory::Accepted;
        }
        Memory::Hidden
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: usize = 100;

    /// What becomes of the last of `points`.
    fn check(what: &str, points: impl Iterator<Item = f64>, expected: Memory) {
        let mut hidden = Hidden::new(DAY);
        assert_eq!(points.map(|point| hidden.push(point)).last(), Some(expected), "{what}");
    }

    #[test]
    fn what_is_far_is_hidden_unless_it_lasts() {
        let high = |count| std::iter::repeat_n(20.0, count);
        let low = |count| std::iter::repeat_n(1.0, count);
        check("a usual point", low(1), Memory::Kept);
        check("a spike", low(50).chain(high(1)), Memory::Hidden);
        check("a day", low(50).chain(high(DAY)), Memory::Hidden);
        check("more than a day", low(50).chain(high(DAY + 1)), Memory::Accepted);
        check("after a pause it begins anew", high(DAY).chain(low(CALM + 1)).chain(high(1)), Memory::Hidden);
        check("a short pause does not end it", high(DAY).chain(low(CALM)).chain(high(1)), Memory::Accepted);
        let often = |every: usize| (0..14 * DAY).map(move |at| if at % every == 0 { 20.0 } else { 1.0 });
        check("every second point", often(2).take(13 * DAY + 1), Memory::Accepted);
        check("every fiftieth", often(50).take(13 * DAY + 1), Memory::Hidden);
    }
}
