//! Why a detector of several series found a point as odd as it did.

/// What a detector saw of the newest point of a panel.
#[derive(Debug, Clone, PartialEq)]
pub enum Reason {
    /// What each value of the point's vector has to do with its score.
    Values {
        /// The score, not below 0.
        score: f64,
        /// The values, those without which the score falls most first.
        parts: Vec<Part>,
    },
    /// What the other series did at that time.
    Others(Others),
}

/// One value of a vector, or those that say the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part {
    /// Of what it is.
    pub what: Value,
    /// What it was, in the units of the data; NaN for a gap, and for a time.
    pub actual: f64,
    /// What the other values of the vector lead one to expect; NaN for a time.
    pub expected: f64,
    /// What the score would be if it had been that.
    pub without: f64,
}

/// Of what a value of a vector is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// The row of the panel.
    Row(usize),
    /// The change of the row since the point before.
    Change(usize),
    /// The place in a part of time: `hour`, `day`, `week` or `year`.
    Time(&'static str),
}

/// What the other series of a group did at the time of a point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Others {
    /// How many of them had a value.
    pub count: usize,
    /// Their lowest value, lower quartile, median, upper quartile and highest value.
    pub spread: [f64; 5],
    /// The median of the whole group, the point among them.
    pub middle: f64,
    /// How far above it the series usually lies.
    pub place: f64,
    /// How far above what was expected of it the series was.
    pub deviation: f64,
    /// How far from what was expected of it that one of the others was that was the furthest.
    pub furthest: f64,
    /// How many of the others were as far as the series.
    pub as_far: usize,
}
