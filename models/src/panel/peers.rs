//! Peers: each series of a group against the others at the same time. What all of them do is no anomaly; what one does
//! alone is.
//!
//! The pack at a time is the median of the group. A series is expected as far from it as it usually is, and how much
//! further it may be comes from the context: by double median absolute deviations, or by a one-dimensional DBSCAN at each time, both from the library `augurs-outlier`.

use augurs::outlier::{Band, DbscanDetector, MADDetector, OutlierDetector};
use serde::Deserialize;

use super::{Found, Others, Panel, quantile, sorted};
use crate::auto;
use crate::entry::{BuildError, Built, Entry, Parameter, parse, wrong};
use crate::resources::Resources;
use crate::spec::ModelSpec;

/// The model's line in the registry.
pub(crate) const ENTRY: Entry = Entry {
    id: "peers",
    aliases: &[],
    summary: "each series against the others of the query at the same time; forecasts come from another model",
    parameters: &[
        Parameter {
            name: "group_by",
            default: "[]",
            meaning: "labels: only series in which their values are equal are compared; [] compares all of the query",
        },
        Parameter {
            name: "method",
            default: "mad",
            meaning: "mad: how far from the median of the group, in median absolute deviations; dbscan: whether near enough to more than half of the group",
        },
        Parameter {
            name: "sensitivity",
            default: "0.2 for mad, 0.5 for dbscan",
            meaning: "between 0 and 1: higher finds more. With mad, 0.2 is 4.8 standard deviations, 0.5 is 2.9; with dbscan, one minus the part of the context's range that a gap may have",
        },
        auto::FORECASTER,
    ],
    build,
};

/// With fewer series at a time there is no pack.
const FEWEST: usize = 3;

/// The most values of the context that are learned from.
const MOST_LEARNED: usize = 20_000;

/// DBSCAN's distance is this many times wider than the sensitivity says, as in `augurs-outlier`.
const PADDING: f64 = 1.1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Method {
    Mad,
    Dbscan,
}

/// What is set.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    #[serde(alias = "groupby")]
    pub(super) group_by: Vec<String>,
    method: Method,
    sensitivity: Option<f64>,
    forecaster: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { group_by: vec![], method: Method::Mad, sensitivity: None, forecaster: auto::FORECASTER.default.into() }
    }
}

impl Settings {
    /// The settings of `spec`.
    ///
    /// # Errors
    /// An unknown parameter, or one out of its bounds.
    pub(crate) fn of(spec: &ModelSpec) -> Result<Self, BuildError> {
        let settings: Self = parse(&ENTRY, &spec.parameters)?;
        match settings.sensitivity {
            Some(sensitivity) if !(sensitivity > 0.0 && sensitivity < 1.0) => {
                Err(wrong(&ENTRY, "sensitivity", format!("{sensitivity} does not lie between 0 and 1")))
            }
            _ => Ok(settings),
        }
    }

    fn sensitivity(&self) -> f64 {
        self.sensitivity.unwrap_or(match self.method {
            Method::Mad => 0.2,
            Method::Dbscan => 0.5,
        })
    }
}

fn build(spec: &ModelSpec, resources: &Resources) -> Built {
    auto::forecaster(&ENTRY, Settings::of(spec)?.forecaster, resources)
}

/// What is found of the points after the context.
pub(super) fn judge(settings: &Settings, panel: &Panel<'_>) -> Vec<Vec<Option<Found>>> {
    let centres: Vec<f64> = (0..panel.points()).map(|point| centre(panel.rows, point)).collect();
    let beside = |range: std::ops::Range<usize>, step: usize| -> Vec<Vec<f64>> {
        let beside = |row: &Vec<f64>| {
            let points = range.clone().step_by(step);
            points.map(|point| finite(row[point] - centres[point])).collect()
        };
        panel.rows.iter().map(beside).collect()
    };
    // Those that have ended or not begun have no say, whether they are among the rows or not.
    let is_there = |row: &&Vec<f64>| row[..panel.known].iter().any(|value| value.is_finite());
    let values = panel.rows.iter().filter(is_there).count() * panel.known;
    let mut context = beside(0..panel.known, values.div_ceil(MOST_LEARNED).max(1));
    let mut new = beside(panel.known..panel.points(), 1);
    let places: Vec<f64> = context.iter().map(|row| place(row)).collect();
    for (place, row) in places.iter().zip(&mut context).chain(places.iter().zip(&mut new)) {
        row.iter_mut().for_each(|value| *value -= place);
    }
    let edges = edges(settings, &slices(&context), &slices(&new));
    let found = |(row, place): (&Vec<f64>, &f64)| {
        let found = |(at, value): (usize, &f64)| {
            let (expected, (lower, upper)) = (centres[panel.known + at] + place, *edges.get(at)?);
            // Rounding makes no outlier.
            let least = 1e-9 * expected.abs();
            let (lower, upper) = (expected + lower.min(-least), expected + upper.max(least));
            let is_known = value.is_finite() && lower.is_finite() && upper.is_finite();
            is_known.then_some(Found { expected, lower, upper, score: None })
        };
        row[panel.known..].iter().enumerate().map(found).collect()
    };
    panel.rows.iter().zip(&places).map(found).collect()
}

/// What the others did at the newest point of `row`; `None` where nothing was found of it.
pub(super) fn reason(settings: &Settings, panel: &Panel<'_>, row: usize) -> Option<Others> {
    let point = panel.points().checked_sub(1).filter(|point| *point >= panel.known)?;
    let found: Vec<Option<Found>> = judge(settings, panel).iter().map(|row| row.last().copied().flatten()).collect();
    let deviation = |row: usize| Some(panel.rows[row][point] - found[row]?.expected);
    let (own, deviation_of_own) = (*found.get(row)?, deviation(row)?);
    let others = || (0..panel.rows.len()).filter(|other| *other != row);
    let values = sorted(others().map(|other| panel.rows[other][point]));
    let distances: Vec<f64> = others().filter_map(deviation).map(f64::abs).collect();
    let middle = centre(panel.rows, point);
    Some(Others {
        count: values.len(),
        spread: [0.0, 0.25, 0.5, 0.75, 1.0].map(|level| quantile(&values, level)),
        middle,
        place: own?.expected - middle,
        deviation: deviation_of_own,
        furthest: distances.iter().copied().fold(0.0, f64::max),
        as_far: distances.iter().filter(|distance| **distance >= deviation_of_own.abs()).count(),
    })
}

/// How far from the pack a series usually is, given its distances in the context: in its middle, if it has hardly been
/// there.
fn place(distances: &[f64]) -> f64 {
    let known = sorted(distances.iter().copied());
    if 2 * known.len() < distances.len() || known.is_empty() { 0.0 } else { quantile(&known, 0.5) }
}

/// The median of the rows at `point`; NaN where too few have a value.
fn centre(rows: &[Vec<f64>], point: usize) -> f64 {
    let known = sorted(rows.iter().map(|row| row[point]));
    if known.len() < FEWEST { f64::NAN } else { quantile(&known, 0.5) }
}

fn finite(value: f64) -> f64 {
    if value.is_finite() { value } else { f64::NAN }
}

fn slices(rows: &[Vec<f64>]) -> Vec<&[f64]> {
    rows.iter().map(Vec::as_slice).collect()
}

/// How far below and above the pack a series may lie at each of the `new` points, by how far they lay from it in the
/// `context`; NaN where there is no pack.
fn edges(settings: &Settings, context: &[&[f64]], new: &[&[f64]]) -> Vec<(f64, f64)> {
    let known = sorted(context.iter().flat_map(|row| row.iter().copied()));
    let points = new.first().map_or(0, |row| row.len());
    if known.len() < FEWEST {
        return vec![(f64::NAN, f64::NAN); points];
    }
    match settings.method {
        Method::Mad => mad(settings.sensitivity(), context, new)
            .unwrap_or_else(|| vec![mean_deviation(settings.sensitivity(), &known); points]),
        Method::Dbscan => {
            let range = known[known.len() - 1] - known[0];
            let epsilon = (1.0 - settings.sensitivity()) * PADDING * range;
            let band = band(&DbscanDetector::with_epsilon(epsilon), new);
            // The library's band ends half way to where a series would not belong to the pack.
            let edges = |band: Band| {
                band.min.iter().zip(band.max).map(|(low, high)| (low - epsilon / 2.0, high + epsilon / 2.0)).collect()
            };
            band.map_or_else(|| vec![(f64::NAN, f64::NAN); points], edges)
        }
    }
}

/// `None` where more than half of the deviations to one side are 0.
fn mad(sensitivity: f64, context: &[&[f64]], new: &[&[f64]]) -> Option<Vec<(f64, f64)>> {
    let medians = MADDetector::calculate_double_medians(context).ok()?;
    let mut detector = MADDetector::with_sensitivity(sensitivity).ok()?;
    detector.set_medians(medians);
    let Band { min, max } = band(&detector, new)?;
    Some(min.into_iter().zip(max).collect())
}

fn band<D: OutlierDetector>(detector: &D, new: &[&[f64]]) -> Option<Band> {
    let data = detector.preprocess(new).ok()?;
    detector.detect(&data).ok()?.cluster_band
}

/// Where the median of deviations is 0, their mean measures them (Iglewicz and Hoaglin, How to Detect and Handle
/// Outliers, 1993, section 3.4). `known` rise.
fn mean_deviation(sensitivity: f64, known: &[f64]) -> (f64, f64) {
    /// The standard deviation of a normal distribution over its mean absolute deviation.
    const OVER_MEAN: f64 = 1.253_314;
    let mean = known.iter().map(|value| value.abs()).sum::<f64>() / known.len() as f64;
    let reach = OVER_MEAN * mean * threshold(sensitivity);
    (-reach, reach)
}

/// The standard deviations that `sensitivity` stands for, read off the library's own band.
fn threshold(sensitivity: f64) -> f64 {
    // Of these values the medians to both sides are 1.
    let unit: [&[f64]; 3] = [&[-1.0], &[0.0], &[1.0]];
    mad(sensitivity, &unit, &unit)
        .and_then(|edges| edges.first().copied())
        .map_or(f64::NAN, |(_, upper)| upper / 1.4826)
}
