//! Which column of a table is what.

use std::collections::{HashMap, HashSet};

use super::samples::Samples;
use super::{FileFault, FileOptions, Layout};
use crate::labels::{LabelError, Labels, METRIC_NAME};

const TIMES: [&str; 6] = ["timestamp", "time", "ts", "ds", "date", "datetime"];
const VALUES: [&str; 3] = ["value", "y", "val"];
const SERIES: [&str; 6] = [METRIC_NAME, "unique_id", "series", "metric", "item_id", "name"];
/// What data sets call the column that says what is an anomaly. It is no series.
const TRUTHS: [&str; 3] = ["label", "is_anomaly", "anomaly"];

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Time,
    Number,
    Flag,
    Text,
    Other,
}

/// A column's name and what it holds.
#[derive(Clone, Debug)]
pub(super) struct Heading {
    pub(super) name: String,
    pub(super) kind: Kind,
}

impl Heading {
    fn is_named(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.name.trim().eq_ignore_ascii_case(name))
    }

    /// Whether this is the count of rows that pandas writes in front of the columns.
    fn is_row_number(&self) -> bool {
        let name = self.name.trim();
        name.is_empty() || name.starts_with("Unnamed: ") || name.starts_with("__index_level_")
    }
}

/// The columns to read, by number.
#[derive(Debug)]
pub(super) struct Roles {
    pub(super) time: usize,
    pub(super) values: Vec<usize>,
    pub(super) series: Option<usize>,
    pub(super) labels: Vec<usize>,
    /// The column that says what is an anomaly, where it is not read as something else.
    pub(super) truth: Option<usize>,
    layout: Layout,
}

impl Roles {
    /// Follows the options, and guesses what they leave open.
    pub(super) fn new(headings: &[Heading], options: &FileOptions) -> Result<Self, FileFault> {
        let mut seen = HashSet::new();
        let named = headings.iter().filter(|heading| !heading.is_row_number());
        if let Some(twice) = named.map(|heading| &heading.name).find(|name| !seen.insert(*name)) {
            return Err(FileFault::TwoColumns(twice.clone()));
        }
        let time = match &options.time {
            Some(name) => find(headings, name)?,
            None => guess_time(headings).ok_or_else(|| FileFault::NoTime(names(headings)))?,
        };
        let series = match &options.series {
            Some(name) => Some(find(headings, name)?),
            None => guess_series(headings, time),
        };
        let value = options.value.as_ref().map(|name| find(headings, name)).transpose()?;
        let mut labels = options.labels.iter().map(|name| find(headings, name)).collect::<Result<Vec<_>, _>>()?;
        // The column that names the series can't be a label of it as well.
        labels.retain(|at| Some(*at) != series);
        let taken = |at: usize| at == time || Some(at) == series || Some(at) == value || labels.contains(&at);
        let (layout, values) = values(headings, options, value, series.is_some(), taken)?;
        let text = |at: &usize| headings[*at].kind == Kind::Text && !taken(*at) && !values.contains(at);
        let labels = if options.labels.is_empty() { (0..headings.len()).filter(text).collect() } else { labels };
        let is_free = |at: &usize| !(*at == time || Some(*at) == series || labels.contains(at) || values.contains(at));
        let is_truth = |at: &usize| {
            matches!(headings[*at].kind, Kind::Number | Kind::Flag) && headings[*at].is_named(&TRUTHS) && is_free(at)
        };
        let truth = (0..headings.len()).find(is_truth);
        Ok(Self { time, values, series, labels, truth, layout })
    }
}

/// The layout and the columns of values.
fn values(
    headings: &[Heading],
    options: &FileOptions,
    value: Option<usize>,
    has_series: bool,
    taken: impl Fn(usize) -> bool,
) -> Result<(Layout, Vec<usize>), FileFault> {
    if let Some(value) = value {
        return Ok((options.layout.unwrap_or(Layout::Long), vec![value]));
    }
    let number = |at: &usize| headings[*at].kind == Kind::Number && !taken(*at);
    let plain = |at: &usize| !headings[*at].is_row_number() && !headings[*at].is_named(&TRUTHS);
    let numbers: Vec<usize> = (0..headings.len()).filter(number).filter(plain).collect();
    let has_text = (0..headings.len()).any(|at| headings[at].kind == Kind::Text && !taken(at));
    // Beside other numbers, a column of such a name is one series among others.
    let is_long = numbers.len() == 1 || has_series || has_text || options.layout == Some(Layout::Long);
    let called = VALUES.iter().find_map(|name| numbers.iter().find(|at| headings[**at].is_named(&[name])));
    let called = called.filter(|_| is_long);
    let single = numbers.first().filter(|_| numbers.len() == 1 && (has_series || options.layout.is_some()));
    match (options.layout, called.or(single)) {
        (None | Some(Layout::Long), Some(value)) => Ok((Layout::Long, vec![*value])),
        (None | Some(Layout::Wide), _) if !numbers.is_empty() => Ok((Layout::Wide, numbers)),
        _ => Err(FileFault::NoValues(names(headings))),
    }
}

fn names(headings: &[Heading]) -> Vec<String> {
    headings.iter().map(|heading| heading.name.clone()).collect()
}

fn find(headings: &[Heading], name: &str) -> Result<usize, FileFault> {
    let exact = headings.iter().position(|heading| heading.name == name);
    let near = || headings.iter().position(|heading| heading.is_named(&[name]));
    exact.or_else(near).ok_or_else(|| FileFault::NoColumn { column: name.to_string(), found: names(headings) })
}

fn guess_time(headings: &[Heading]) -> Option<usize> {
    let fits = |heading: &Heading| !matches!(heading.kind, Kind::Flag | Kind::Other);
    let called = |name: &&str| headings.iter().position(|heading| heading.is_named(&[name]) && fits(heading));
    TIMES.iter().find_map(called).or_else(|| headings.iter().position(|heading| heading.kind == Kind::Time))
}

fn guess_series(headings: &[Heading], time: usize) -> Option<usize> {
    let fits = |heading: &Heading| {
        heading.kind == Kind::Text || (heading.kind == Kind::Number && heading.is_named(&["unique_id", "item_id"]))
    };
    let called = |name: &&str| headings.iter().position(|heading| heading.is_named(&[name]) && fits(heading));
    SERIES.iter().find_map(called).filter(|at| *at != time)
}

/// Finds the series of the cells of a row, and remembers them by the text that names them.
pub(super) struct Namer<'a> {
    headings: &'a [Heading],
    roles: &'a Roles,
    known: HashMap<String, Vec<usize>>,
    key: String,
}

impl<'a> Namer<'a> {
    pub(super) fn new(headings: &'a [Heading], roles: &'a Roles) -> Self {
        Self { headings, roles, known: HashMap::new(), key: String::new() }
    }

    /// The series of every column of values in the row `line`, whose cells `cell` gives.
    pub(super) fn series<'c>(
        &mut self,
        samples: &mut Samples,
        line: u64,
        cell: impl Fn(usize) -> &'c str,
    ) -> Result<&[usize], FileFault> {
        self.key.clear();
        for at in self.roles.series.iter().chain(&self.roles.labels) {
            self.key.push_str(cell(*at));
            self.key.push('\0');
        }
        if !self.known.contains_key(&self.key) {
            let named = self.roles.values.iter().map(|value| self.labels(*value, &cell));
            let named = named.collect::<Result<Vec<_>, _>>().map_err(|error| FileFault::Series { line, error })?;
            let rows = named.into_iter().map(|labels| samples.row(labels)).collect();
            self.known.insert(self.key.clone(), rows);
        }
        Ok(&self.known[&self.key])
    }

    fn labels<'c>(&self, value: usize, cell: &impl Fn(usize) -> &'c str) -> Result<Labels, LabelError> {
        let header = self.headings[value].name.trim();
        let text = self.roles.series.map(|at| (self.headings[at].name.as_str(), cell(at).trim()));
        let (own, extra) = match (self.roles.layout, text) {
            (Layout::Long, Some((_, text))) if !text.is_empty() => (parse(text)?, None),
            (Layout::Long, _) => (parse(header)?, None),
            (Layout::Wide, extra) => (parse(header)?, extra),
        };
        let own: Vec<(&str, &str)> = own.iter().collect();
        let labels = self.roles.labels.iter().map(|at| (self.headings[*at].name.as_str(), cell(*at)));
        Labels::new(own.into_iter().chain(labels).chain(extra))
    }
}

/// `name{label="value"}`, or any other text as a metric's name.
fn parse(text: &str) -> Result<Labels, LabelError> {
    if text.contains('{') && text.ends_with('}') { text.parse() } else { Ok(Labels::metric(text)) }
}
