//! Frames to rows, and what becomes of those that the store refuses.

use tsink::label::{MAX_LABEL_NAME_LEN, MAX_LABEL_VALUE_LEN, MAX_METRIC_NAME_LEN};
use tsink::{DataPoint, Label, Row, Storage, TsinkError};

use crate::frame::Frame;
use crate::labels::{Labels, METRIC_NAME};
use crate::write::{Rejected, Samples, Written, is_sent};

/// Rows in one request to the store, which syncs its log once for each.
const BATCH: usize = 32_768;

/// What the log spends on one sample before compression: time and value.
const SAMPLE_BYTES: u64 = 16;

/// Writes all values of all frames; the error is the store's message.
pub(super) fn insert(storage: &dyn Storage, frames: &[Frame]) -> Result<Written, String> {
    let mut request = Request { storage, rows: vec![], written: Written::default() };
    for (labels, frame, row) in frames.iter().flat_map(|f| f.rows().map(move |(labels, row)| (labels, f, row))) {
        let values = row.iter().enumerate().filter(|(_, value)| is_sent(**value));
        request.series(labels, values.map(|(index, value)| (frame.time(index).millis(), *value)))?;
    }
    request.send()?;
    Ok(request.written)
}

/// Writes samples that lie on no grid; the error is the store's message. Of the values that are no number, only the mark
/// that a series has ended is kept.
pub(super) fn insert_samples(storage: &dyn Storage, series: Vec<Samples>) -> Result<Written, String> {
    let mut request = Request { storage, rows: vec![], written: Written::default() };
    for Samples { labels, mut samples } in series {
        samples.retain(|(_, value)| is_sent(*value));
        samples.sort_by_key(|(time, _)| *time);
        request.series(&labels, samples.into_iter().map(|(time, value)| (time.millis(), value)))?;
    }
    request.send()?;
    Ok(request.written)
}

struct Request<'a> {
    storage: &'a dyn Storage,
    rows: Vec<Row>,
    written: Written,
}

impl Request<'_> {
    fn series(&mut self, labels: &Labels, samples: impl Iterator<Item = (i64, f64)>) -> Result<(), String> {
        if let Some(message) = unfit(labels) {
            self.reject("invalid_label", samples.count() as u64, message);
            return Ok(());
        }
        let tags: Vec<Label> = tags(labels);
        for (millis, value) in samples {
            let point = DataPoint::new(millis, value);
            self.rows.push(Row::with_labels(labels.name(), tags.clone(), point));
            if self.rows.len() >= BATCH {
                self.send()?;
            }
        }
        Ok(())
    }

    fn send(&mut self) -> Result<(), String> {
        let rows = std::mem::take(&mut self.rows);
        self.take_or_split(&rows)
    }

    /// The store takes a request as a whole or not at all. So one that holds a sample that is too old is halved,
    /// between series first and then between times, until the halves are all good or all bad.
    fn take_or_split(&mut self, rows: &[Row]) -> Result<(), String> {
        if rows.is_empty() {
            return Ok(());
        }
        let refusal = match self.storage.insert_rows(rows) {
            Ok(()) => {
                self.written.samples += rows.len() as u64;
                self.written.bytes += rows.len() as u64 * SAMPLE_BYTES;
                return Ok(());
            }
            Err(refusal) => refusal,
        };
        let Some((reason, time)) = too_old(&refusal) else { return Err(refusal.to_string()) };
        let middle = match boundary(rows) {
            Some(boundary) => boundary,
            None => {
                // Within a series, times rise: whatever is not after the refused one is refused as well.
                let bad = rows.partition_point(|row| row.data_point().timestamp <= time).max(1);
                self.reject(reason, bad as u64, refusal.to_string());
                let rest = &rows[bad..];
                let (older, newer) = rest.split_at(rest.len() / 2);
                self.take_or_split(older)?;
                return self.take_or_split(newer);
            }
        };
        self.take_or_split(&rows[..middle])?;
        self.take_or_split(&rows[middle..])
    }

    fn reject(&mut self, reason: &'static str, samples: u64, message: String) {
        if samples == 0 {
            return;
        }
        match self.written.rejected.iter_mut().find(|known| known.reason == reason) {
            Some(known) => known.samples += samples,
            None => self.written.rejected.push(Rejected { reason, samples, message }),
        }
    }
}

/// Every label but the metric's name.
fn tags(labels: &Labels) -> Vec<Label> {
    labels.iter().filter(|(name, _)| *name != METRIC_NAME).map(|(name, value)| Label::new(name, value)).collect()
}

/// Why the store can't hold a series of these labels.
fn unfit(labels: &Labels) -> Option<String> {
    if labels.name().is_empty() {
        return Some(format!("{labels} has no metric name"));
    }
    if labels.name().len() > MAX_METRIC_NAME_LEN {
        return Some(format!("a metric name of {} bytes, {MAX_METRIC_NAME_LEN} at most", labels.name().len()));
    }
    let long = labels.iter().filter(|(name, _)| *name != METRIC_NAME);
    let long = long.filter(|(name, value)| name.len() > MAX_LABEL_NAME_LEN || value.len() > MAX_LABEL_VALUE_LEN);
    long.map(|(name, value)| {
        let (name_bytes, value_bytes) = (name.len(), value.len());
        format!(
            "a label name of {name_bytes} bytes with a value of {value_bytes} bytes, \
             {MAX_LABEL_NAME_LEN} and {MAX_LABEL_VALUE_LEN} at most"
        )
    })
    .next()
}

/// The refusals that concern one sample, and its time.
fn too_old(refusal: &TsinkError) -> Option<(&'static str, i64)> {
    match refusal {
        TsinkError::OutOfRetention { timestamp } => Some(("too_old", *timestamp)),
        TsinkError::LateWritePartitionFanoutExceeded { timestamp, .. } => Some(("out_of_order", *timestamp)),
        _ => None,
    }
}

/// The place nearest to the middle where one run of rising times in one series ends and another begins.
fn boundary(rows: &[Row]) -> Option<usize> {
    let ends = |at: &usize| {
        let (before, after) = (&rows[*at - 1], &rows[*at]);
        before.metric() != after.metric()
            || before.labels() != after.labels()
            || before.data_point().timestamp > after.data_point().timestamp
    };
    let middle = rows.len() / 2;
    let right = (middle.max(1)..rows.len()).find(ends);
    right.or_else(|| (1..middle).rev().find(ends))
}
