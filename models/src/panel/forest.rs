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

use super::{Found, Panel, quantile, sorted};
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
    /// In multiples of how far the middle half of the context lies apart; a gap is 0, the context's median.
    values: Vec<f64>,
    /// Whether it never moved in the context, so that no cut can go across it.
    is_constant: bool,
}

/// What is found of the points after the context.
pub(super) fn judge(settings: &Settings, panel: &Panel<'_>) -> Vec<Vec<Option<Found>>> {
    let half_known = |row: &&Vec<f64>| 2 * row[..panel.known].iter().filter(|value| value.is_finite()).count();
    let nothing = || panel.rows.iter().map(|row| vec![None; row.len() - panel.known]).collect();
    // A series that has hardly been there would only make gaps of the vectors.
    let members: Vec<&Vec<f64>> = panel.rows.iter().filter(|row| half_known(row) >= panel.known).collect();
    if panel.known < FEWEST || members.is_empty() {
        return nothing();
    }
    let scores = scores(settings, panel, &members);
    let found = |row: &Vec<f64>| {
        let (known, new) = row.split_at(panel.known);
        let known = sorted(known.iter().copied());
        let tail = (1.0 - panel.confidence) / 2.0;
        let [lower, expected, upper] = [tail, 0.5, 1.0 - tail].map(|level| quantile(&known, level));
        let is_member = 2 * known.len() >= panel.known;
        let found = |(value, score): (&f64, &f64)| {
            (is_member && value.is_finite()).then_some(Found { expected, lower, upper, score: Some(*score) })
        };
        new.iter().zip(&scores).map(found).collect()
    };
    panel.rows.par_iter().map(found).collect()
}

/// How odd each point after the context is.
fn scores(settings: &Settings, panel: &Panel<'_>, members: &[&Vec<f64>]) -> Vec<f64> {
    let (points, known) = (panel.points(), panel.known);
    let features = features(settings, panel, members);
    let moving: Vec<&Feature> = features.iter().filter(|feature| !feature.is_constant).collect();
    let plain = |point: usize| -> Vec<f64> { moving.iter().map(|feature| feature.values[point]).collect() };
    let plains: Vec<Vec<f64>> = (0..known).map(plain).collect();
    let whitening = Whitening::of(&plains);
    let vectors: Vec<Vec<f64>> = plains.par_iter().map(|plain| whitening.apply(plain)).collect();
    let vector = |point: usize| whitening.apply(&plain(point));
    let forest = Forest::new(&vectors, settings.trees, settings.sample, settings.seed);
    let compared = vectors.par_iter().step_by(known.div_ceil(MOST_COMPARED));
    let usual: Vec<f64> = compared.map(|vector| forest.score(vector)).collect();
    let (middle, alert) = scale(&sorted(usual.into_iter()), settings.contamination);
    let has_moved = |point: usize| features.iter().any(|feature| feature.is_constant && feature.values[point] != 0.0);
    let raw = |point: usize| if has_moved(point) { forest.isolated() } else { forest.score(&vector(point)) };
    (known..points).into_par_iter().map(|point| ((raw(point) - middle) / (alert - middle)).max(0.0)).collect()
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

fn features(settings: &Settings, panel: &Panel<'_>, members: &[&Vec<f64>]) -> Vec<Feature> {
    let mut rows: Vec<Vec<f64>> = members.iter().map(|row| (*row).clone()).collect();
    if members.len() == 1 {
        rows.push(changes(members[0]));
    }
    let mut features: Vec<Feature> = rows.into_par_iter().map(|row| feature(row, panel.known)).collect();
    let step_seconds = panel.step.as_secs_f64();
    for season in &settings.seasonal_features {
        let phase = |point: usize| {
            let seconds = panel.start_ms as f64 / 1000.0 + point as f64 * step_seconds;
            TAU * (seconds / season.seconds()).fract()
        };
        for part in [f64::sin, f64::cos] {
            let row = (0..panel.points()).map(|point| part(phase(point))).collect();
            features.push(feature(row, panel.known));
        }
    }
    features
}

/// From each point to the next; a gap where one of the two is.
fn changes(row: &[f64]) -> Vec<f64> {
    let changes = row.windows(2).map(|pair| pair[1] - pair[0]);
    std::iter::once(f64::NAN).chain(changes).collect()
}

/// `row` as a feature, by what the first `known` of its values are.
fn feature(mut row: Vec<f64>, known: usize) -> Feature {
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
    Feature { values: row, is_constant: width.is_none() }
}
