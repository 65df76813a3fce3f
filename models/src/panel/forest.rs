//! Isolation forest: a point that few random cuts tell from all others is unlike them (Liu, Ting and Zhou, ICDM 2008).
//! Cuts go across two values at a time in any direction, not only along the axes, so that values which are usual each
//! and odd together lie outside (Hariri, Carrasco Kind and Brunner, TKDE 2019, section 3, with an extension level of 1).
//!
//! Before that, what the values have in common is taken out of them, so that a value which doesn't follow the others is as
//! far out as it is beside what is left.
//!
//! The vector of a point has the value of each series of the group, and of a series that stands alone also its change.

use std::f64::consts::TAU;

use rayon::prelude::*;
use serde::Deserialize;

use super::{Found, Panel, Part, Reason, Value, quantile, sorted};
use crate::auto;
use crate::entry::{BuildError, Built, Entry, Parameter, parse, wrong};
use crate::resources::Resources;
use crate::spec::ModelSpec;

mod trees;
mod whitening;

use trees::Forest;
use whitening::Whitening;

/// The model's line in the registry.
pub(crate) const ENTRY: Entry = Entry {
    id: "isolation_forest",
    aliases: &["iforest"],
    summary: "points whose values are odd together, by an isolation forest; forecasts come from another model",
    parameters: &[
        Parameter {
            name: "group_by",
            default: "none: each series by itself",
            meaning: "labels: series in which their values are equal make one vector; [] takes all series of the query",
        },
        Parameter {
            name: "contamination",
            default: "0.0005",
            meaning: "the part of the context's points that a score of 1 leaves above it",
        },
        Parameter {
            name: "seasonal_features",
            default: "[]",
            meaning: "what the vector has beside values: minute (of the hour), hod, dow, month, in UTC",
        },
        Parameter { name: "trees", default: "100", meaning: "how many trees: 1 to 1000" },
        Parameter { name: "sample", default: "256", meaning: "how many points of the context each sees: 8 to 4096" },
        Parameter { name: "seed", default: "0", meaning: "which random cuts" },
        auto::FORECASTER,
    ],
    build,
};

/// Of fewer points nothing is learned.
const FEWEST: usize = 32;

/// The most points of the context that scores are compared with.
const MOST_COMPARED: usize = 2048;

/// The part of the highest scores of a context that its tail is read off, and how many they are at least.
const TAIL: f64 = 0.02;
const LEAST_TAIL: f64 = 20.0;

/// A point that is isolated as soon as this is odd, whatever else is (Liu et al., section 2: "very close to 1").
const ODD: f64 = 0.8;

/// How far apart the raw scores of what is usual and of an alert lie at least.
const LEAST_SPREAD: f64 = 0.02;

/// A part of time whose place in it is a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Season {
    Minute,
    Hod,
    Dow,
    Month,
}

impl Season {
    /// The time after which it is the same again, in seconds; that of the month is a mean year.
    fn seconds(self) -> f64 {
        match self {
            Self::Minute => 3600.0,
            Self::Hod => 86_400.0,
            Self::Dow => 7.0 * 86_400.0,
            Self::Month => 365.2425 * 86_400.0,
        }
    }

    /// In what the place is.
    fn of(self) -> &'static str {
        match self {
            Self::Minute => "hour",
            Self::Hod => "day",
            Self::Dow => "week",
            Self::Month => "year",
        }
    }
}

/// What is set.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    #[serde(alias = "groupby")]
    pub(super) group_by: Option<Vec<String>>,
    contamination: f64,
    seasonal_features: Vec<Season>,
    trees: usize,
    sample: usize,
    seed: u64,
    forecaster: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            group_by: None,
            contamination: 0.0005,
            seasonal_features: vec![],
            trees: 100,
            sample: 256,
            seed: 0,
            forecaster: auto::FORECASTER.default.into(),
        }
    }
}

impl Settings {
    /// The settings of `spec`.
    ///
    /// # Errors
    /// An unknown parameter, or one out of its bounds.
    pub(crate) fn of(spec: &ModelSpec) -> Result<Self, BuildError> {
        let settings: Self = parse(&ENTRY, &spec.parameters)?;
        let Self { contamination, trees, sample, .. } = settings;
        if !(contamination > 0.0 && contamination < 0.5) {
            return Err(wrong(&ENTRY, "contamination", format!("{contamination} does not lie between 0 and 0.5")));
        }
        for (name, value, bounds) in [("trees", trees, 1..=1000), ("sample", sample, 8..=4096)] {
            if !bounds.contains(&value) {
                let (least, most) = bounds.into_inner();
                return Err(wrong(&ENTRY, name, format!("{value} is not between {least} and {most}")));
            }
        }
        Ok(settings)
    }
}

fn build(spec: &ModelSpec, resources: &Resources) -> Built {
    auto::forecaster(&ENTRY, Settings::of(spec)?.forecaster, resources)
}

/// One value of all vectors.
struct Feature {
    what: Value,
    /// In multiples of `width` from `middle`; a gap is 0.
    values: Vec<f64>,
    /// The median of the context.
    middle: f64,
    /// How far the middle half of the context lies apart.
    width: f64,
    /// Whether it never moved in the context, so that no cut can go across it.
    is_constant: bool,
}

impl Feature {
    /// A place among the values, in the units of the data.
    fn restored(&self, value: f64) -> f64 {
        self.middle + self.width * value
    }

    /// Whether it never moved before, and has at `point`.
    fn has_moved(&self, point: usize) -> bool {
        self.is_constant && self.values[point] != 0.0
    }
}

/// What is found of the points after the context.
pub(super) fn judge(settings: &Settings, panel: &Panel<'_>) -> Vec<Vec<Option<Found>>> {
    let Some(fitted) = Fitted::of(settings, panel) else {
        return panel.rows.iter().map(|row| vec![None; row.len() - panel.known]).collect();
    };
    let points = panel.known..panel.points();
    let scores: Vec<f64> = points.into_par_iter().map(|point| fitted.score(point)).collect();
    let found = |row: &Vec<f64>| {
        let (known, new) = row.split_at(panel.known);
        let is_member = is_member(row, panel);
        let known = sorted(known.iter().copied());
        let tail = (1.0 - panel.confidence) / 2.0;
        let [lower, expected, upper] = [tail, 0.5, 1.0 - tail].map(|level| quantile(&known, level));
        let found = |(value, score): (&f64, &f64)| {
            (is_member && value.is_finite()).then_some(Found { expected, lower, upper, score: Some(*score) })
        };
        new.iter().zip(&scores).map(found).collect()
    };
    panel.rows.par_iter().map(found).collect()
}

/// Whether a row is part of the vectors: one that has hardly been there would only make gaps of them.
fn is_member(row: &[f64], panel: &Panel<'_>) -> bool {
    2 * row[..panel.known].iter().filter(|value| value.is_finite()).count() >= panel.known
}

/// What each value has to do with the score of the newest point of `row`.
pub(super) fn reason(settings: &Settings, panel: &Panel<'_>, row: usize) -> Option<Reason> {
    let own = panel.rows.get(row).filter(|own| own.len() > panel.known && is_member(own, panel))?;
    let point = own.len() - 1;
    let fitted = Fitted::of(settings, panel).filter(|_| own[point].is_finite())?;
    Some(Reason::Values { score: fitted.score(point), parts: fitted.parts(panel, point) })
}

/// A forest that has seen the context of a group.
struct Fitted {
    features: Vec<Feature>,
    /// Those of them that moved in the context: the values of a vector.
    moving: Vec<usize>,
    whitening: Whitening,
    forest: Forest,
    /// The raw score of what is usual, and that of an alert.
    scale: (f64, f64),
}

impl Fitted {
    /// That of `panel`; `None` where there is too little to learn from.
    fn of(settings: &Settings, panel: &Panel<'_>) -> Option<Self> {
        let members: Vec<usize> = (0..panel.rows.len()).filter(|row| is_member(&panel.rows[*row], panel)).collect();
        if panel.known < FEWEST || members.is_empty() {
            return None;
        }
        let features = features(settings, panel, &members);
        let moving: Vec<usize> = (0..features.len()).filter(|at| !features[*at].is_constant).collect();
        let plains: Vec<Vec<f64>> = (0..panel.known).map(|point| plain(&features, &moving, point)).collect();
        let whitening = Whitening::of(&plains);
        let vectors: Vec<Vec<f64>> = plains.par_iter().map(|plain| whitening.apply(plain)).collect();
        let forest = Forest::new(&vectors, settings.trees, settings.sample, settings.seed);
        let compared = vectors.par_iter().step_by(panel.known.div_ceil(MOST_COMPARED));
        let usual: Vec<f64> = compared.map(|vector| forest.score(vector)).collect();
        let scale = scale(&sorted(usual.into_iter()), settings.contamination);
        Some(Self { features, moving, whitening, forest, scale })
    }

    /// How odd `point` is.
    fn score(&self, point: usize) -> f64 {
        let has_moved = self.features.iter().any(|feature| feature.has_moved(point));
        self.score_of(&self.vector(point), has_moved)
    }

    /// How odd a vector is; `has_moved` where a value that never moved before has.
    fn score_of(&self, vector: &[f64], has_moved: bool) -> f64 {
        let raw = if has_moved { self.forest.isolated() } else { self.forest.score(vector) };
        let (middle, alert) = self.scale;
        ((raw - middle) / (alert - middle)).max(0.0)
    }

    fn vector(&self, point: usize) -> Vec<f64> {
        self.whitening.apply(&plain(&self.features, &self.moving, point))
    }

    /// What the score of `point` would be if each of its values were what the others lead one to expect: the prediction
    /// difference of Robnik-Šikonja and Kononenko (Explaining Classifications for Individual Instances, TKDE 2008), where a
    /// value is replaced by its mean given the others, as in Zintgraf et al. (ICLR 2017, section 3.1).
    fn parts(&self, panel: &Panel<'_>, point: usize) -> Vec<Part> {
        let vector = self.vector(point);
        let part = |what: Value| {
            let is_own = |at: &usize| self.features[*at].what == what;
            let places: Vec<usize> = (0..self.moving.len()).filter(|place| is_own(&self.moving[*place])).collect();
            let others_moved = |at: usize| self.features[at].what != what && self.features[at].has_moved(point);
            let replaced = self.whitening.expecting(&vector, &places);
            let without = self.score_of(&replaced, (0..self.features.len()).any(others_moved));
            let feature = self.features.iter().find(|feature| feature.what == what);
            let place = places.first().map_or(0.0, |place| self.whitening.restored(&replaced, *place));
            let expected = feature.map_or(f64::NAN, |feature| feature.restored(place));
            let (actual, expected) = match what {
                Value::Row(row) => (panel.rows[row][point], expected),
                Value::Change(row) => (panel.rows[row][point] - panel.rows[row][point - 1], expected),
                Value::Time(_) => (f64::NAN, f64::NAN),
            };
            Part { what, actual, expected, without }
        };
        // A part of time is two values.
        let mut whats: Vec<Value> = self.features.iter().map(|feature| feature.what).collect();
        whats.dedup();
        let mut parts: Vec<Part> = whats.into_par_iter().map(part).collect();
        parts.sort_by(|a, b| a.without.total_cmp(&b.without));
        parts
    }
}

/// The values of `point` that moved in the context.
fn plain(features: &[Feature], moving: &[usize], point: usize) -> Vec<f64> {
    moving.iter().map(|at| features[*at].values[point]).collect()
}

/// The raw score of what is usual, and the one that the part `contamination` of points like those of the context is above:
/// its tail is taken to be exponential, so that it reaches beyond the highest that was seen.
fn scale(usual: &[f64], contamination: f64) -> (f64, f64) {
    let middle = quantile(usual, 0.5);
    let tail = TAIL.max(LEAST_TAIL / usual.len() as f64).min(0.5);
    if contamination >= tail {
        return (middle, quantile(usual, 1.0 - contamination).max(middle + LEAST_SPREAD));
    }
    let begin = quantile(usual, 1.0 - tail);
    let beyond: Vec<f64> = usual.iter().map(|score| score - begin).filter(|beyond| *beyond > 0.0).collect();
    let mean = beyond.iter().sum::<f64>() / beyond.len().max(1) as f64;
    let alert = (begin + mean * (tail / contamination).ln()).min(ODD.max(begin));
    (middle, alert.max(middle + LEAST_SPREAD))
}

fn features(settings: &Settings, panel: &Panel<'_>, members: &[usize]) -> Vec<Feature> {
    let mut rows: Vec<(Value, Vec<f64>)> =
        members.iter().map(|row| (Value::Row(*row), panel.rows[*row].clone())).collect();
    if let [row] = members {
        rows.push((Value::Change(*row), changes(&panel.rows[*row])));
    }
    let step_seconds = panel.step.as_secs_f64();
    for season in &settings.seasonal_features {
        let phase = |point: usize| {
            let seconds = panel.start_ms as f64 / 1000.0 + point as f64 * step_seconds;
            TAU * (seconds / season.seconds()).fract()
        };
        let row = |part: fn(f64) -> f64| (0..panel.points()).map(|point| part(phase(point))).collect();
        rows.extend([f64::sin, f64::cos].map(|part| (Value::Time(season.of()), row(part))));
    }
    rows.into_par_iter().map(|(what, row)| feature(what, row, panel.known)).collect()
}

/// From each point to the next; a gap where one of the two is.
fn changes(row: &[f64]) -> Vec<f64> {
    let changes = row.windows(2).map(|pair| pair[1] - pair[0]);
    std::iter::once(f64::NAN).chain(changes).collect()
}

/// `row` as a feature, by what the first `known` of its values are.
fn feature(what: Value, mut row: Vec<f64>, known: usize) -> Feature {
    let context = sorted(row[..known].iter().copied());
    let middle = quantile(&context, 0.5);
    let spread = |low: f64, high: f64| quantile(&context, high) - quantile(&context, low);
    let least = 1e-9 * middle.abs();
    let width = [spread(0.25, 0.75), spread(0.0, 1.0)].into_iter().find(|width| *width > least);
    // What is left of rounding is no move.
    let width_or_least = width.unwrap_or(if least > 0.0 { least } else { f64::MIN_POSITIVE });
    for value in &mut row {
        let scaled = (*value - middle) / width_or_least;
        *value = match width {
            _ if !value.is_finite() => 0.0,
            None if scaled.abs() <= 1.0 => 0.0,
            _ => scaled.clamp(-1e15, 1e15),
        };
    }
    Feature { what, values: row, middle, width: width_or_least, is_constant: width.is_none() }
}
