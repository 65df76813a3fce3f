//! What one query sees of the store.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tsink::{DataPoint, Label, MetricSeries, QueryOptions, Result, Row, SeriesSelection, Storage, TsinkError};

use crate::read::{Bound, Limits, ReadFault};

/// Series read at once.
const BATCH: usize = 64;

/// What a sample weighs against [`Limits::bytes`]: its time and its value.
const SAMPLE_BYTES: u64 = 16;

type Points = Vec<(Vec<Label>, Vec<DataPoint>)>;

/// The store as the evaluation of one query may see it: read only, within the query's limits, without the series
/// that no selector of the query wants, and with what has been read once kept for the following steps.
pub(super) struct View {
    storage: Arc<dyn Storage>,
    limits: Limits,
    /// By metric: what the query's selectors ask for. A metric that is not here may be wanted as a whole.
    wanted: HashMap<String, Vec<SeriesSelection>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bytes: u64,
    fault: Option<ReadFault>,
    /// Reads go at least as far as the end of the steps that are evaluated at present.
    end: i64,
    cache: HashMap<String, Kept>,
}

struct Kept {
    start: i64,
    end: i64,
    series: Points,
}

impl View {
    pub(super) fn new(
        storage: Arc<dyn Storage>,
        limits: Limits,
        wanted: HashMap<String, Vec<SeriesSelection>>,
    ) -> Self {
        Self { storage, limits, wanted, state: Mutex::default() }
    }

    /// Forgets what was kept; the steps up to `end` come now.
    pub(super) fn advance(&self, end: i64) {
        let mut state = self.state();
        state.end = end.saturating_add(1);
        state.cache.clear();
    }

    /// Bytes read so far.
    pub(super) fn bytes(&self) -> u64 {
        self.state().bytes
    }

    /// The limit that the query broke, where that was the reason of an error.
    pub(super) fn fault(&self) -> Option<ReadFault> {
        self.state().fault.take()
    }

    /// The series of a selection that have a sample from `start` to before `end`, no more than the limits allow.
    pub(super) fn series(&self, selection: &SeriesSelection, start: i64, end: i64) -> Result<Vec<MetricSeries>> {
        let series = self.storage.select_series(&selection.clone().with_time_range(start, end))?;
        match series.len() > self.limits.series {
            true => Err(self.too_large(Bound::Series, self.limits.series as u64)),
            false => Ok(series),
        }
    }

    /// Calls `take` with the points of each series from `start` to before `end`, a few series at a time.
    pub(super) fn points(
        &self,
        series: &[MetricSeries],
        start: i64,
        end: i64,
        mut take: impl FnMut(MetricSeries, Vec<DataPoint>),
    ) -> Result<()> {
        for batch in series.chunks(BATCH) {
            for found in self.storage.select_many(batch, start, end)? {
                self.count(found.points.len())?;
                let mut points = found.points;
                if !points.is_sorted_by_key(|point| point.timestamp) {
                    points.sort_by_key(|point| point.timestamp);
                }
                take(found.series, points);
            }
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, samples: usize) -> Result<()> {
        let bytes = {
            let mut state = self.state();
            state.bytes += samples as u64 * SAMPLE_BYTES;
            state.bytes
        };
        if bytes > self.limits.bytes { Err(self.too_large(Bound::Bytes, self.limits.bytes)) } else { Ok(()) }
    }

    fn too_large(&self, bound: Bound, limit: u64) -> TsinkError {
        let fault = ReadFault::TooLarge { bound, limit };
        let error = TsinkError::Other(fault.to_string());
        self.state().fault = Some(fault);
        error
    }

    fn load(&self, metric: &str, start: i64, end: i64) -> Result<Points> {
        let whole = [SeriesSelection::new().with_metric(metric)];
        let selections = self.wanted.get(metric).map_or(&whole[..], Vec::as_slice);
        let mut series = BTreeSet::new();
        for selection in selections {
            series.extend(self.series(selection, start, end)?);
        }
        let series: Vec<MetricSeries> = series.into_iter().collect();
        let mut out = vec![];
        self.points(&series, start, end, |series, points| out.push((series.labels, points)))?;
        Ok(out)
    }
}

impl Storage for View {
    fn insert_rows(&self, _: &[Row]) -> Result<()> {
        Err(read_only("insert_rows"))
    }

    fn select(&self, metric: &str, labels: &[Label], start: i64, end: i64) -> Result<Vec<DataPoint>> {
        self.storage.select(metric, labels, start, end)
    }

    fn select_with_options(&self, metric: &str, options: QueryOptions) -> Result<Vec<DataPoint>> {
        self.storage.select_with_options(metric, options)
    }

    fn select_all(&self, metric: &str, start: i64, end: i64) -> Result<Points> {
        let ahead = {
            let state = self.state();
            if let Some(kept) = state.cache.get(metric).filter(|kept| kept.start <= start && end <= kept.end) {
                return Ok(cut(&kept.series, start, end));
            }
            state.end.max(end)
        };
        let series = self.load(metric, start, ahead)?;
        let answer = cut(&series, start, end);
        self.state().cache.insert(metric.to_string(), Kept { start, end: ahead, series });
        Ok(answer)
    }

    fn list_metrics(&self) -> Result<Vec<MetricSeries>> {
        self.storage.list_metrics()
    }

    /// The evaluation asks this with a metric's name only to find out whether `metric{a="b"}` names one series in
    /// full, and if so answers that one alone, although others with more labels match as well. Saying no makes it
    /// look at all of them.
    fn select_series(&self, selection: &SeriesSelection) -> Result<Vec<MetricSeries>> {
        if selection.metric.is_some() { Ok(vec![]) } else { self.storage.select_series(selection) }
    }

    fn close(&self) -> Result<()> {
        Err(read_only("close"))
    }
}

fn read_only(operation: &'static str) -> TsinkError {
    TsinkError::UnsupportedOperation { operation, reason: "a query only reads".to_string() }
}

fn cut(series: &Points, start: i64, end: i64) -> Points {
    let within = |points: &[DataPoint]| {
        let from = points.partition_point(|point| point.timestamp < start);
        let to = points.partition_point(|point| point.timestamp < end);
        points[from..to.max(from)].to_vec()
    };
    let cut = series.iter().map(|(labels, points)| (labels, within(points)));
    cut.filter(|(_, points)| !points.is_empty()).map(|(labels, points)| (labels.clone(), points)).collect()
}
