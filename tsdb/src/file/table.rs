//! Frames side by side, as one long table.

use std::collections::BTreeSet;
use std::io;

use crate::frame::Frame;
use crate::labels::Labels;
use crate::time::Timestamp;

/// The column of the times.
pub(super) const TIME: &str = "timestamp";

/// Frames of the same series and grid.
pub(super) struct Long<'a> {
    first: &'a Frame,
    values: Vec<&'a str>,
    /// The column's name and the label in it.
    labels: Vec<(String, String)>,
}

impl<'a> Long<'a> {
    pub(super) fn new(frames: &[(&'a str, &'a Frame)]) -> io::Result<Self> {
        let wrong = |message: String| io::Error::new(io::ErrorKind::InvalidInput, message);
        let (_, first) = *frames.first().ok_or_else(|| wrong("there is no frame to write".to_string()))?;
        let grid = |frame: &Frame| (frame.start(), frame.step(), frame.points());
        for (name, frame) in frames {
            if grid(frame) != grid(first) || frame.series() != first.series() {
                return Err(wrong(format!("the frame `{name}` has other series or another grid than the first")));
            }
        }
        let values: Vec<&str> = frames.iter().map(|(name, _)| *name).collect();
        let known: BTreeSet<&str> = first.series().iter().flat_map(|labels| labels.iter().map(|pair| pair.0)).collect();
        let mut taken: BTreeSet<String> = values.iter().chain([&TIME]).map(|name| name.to_string()).collect();
        if taken.len() != values.len() + 1 {
            return Err(wrong(format!("two columns have the same name: {TIME}, {}", values.join(", "))));
        }
        let labels = known.into_iter().map(|label| {
            // As Prometheus does it where a label of its own is there already.
            let mut column = label.to_string();
            while !taken.insert(column.clone()) {
                column.insert_str(0, "exported_");
            }
            (column, label.to_string())
        });
        let labels = labels.collect();
        Ok(Self { first, values, labels })
    }

    /// The columns' names: the time, the labels, the values.
    pub(super) fn header(&self) -> impl Iterator<Item = &str> {
        [TIME]
            .into_iter()
            .chain(self.labels.iter().map(|(column, _)| column.as_str()))
            .chain(self.values.iter().copied())
    }

    pub(super) fn labels(&self) -> &[(String, String)] {
        &self.labels
    }

    pub(super) fn series(&self) -> &[Labels] {
        self.first.series()
    }

    pub(super) fn points(&self) -> usize {
        self.first.points()
    }

    pub(super) fn time(&self, point: usize) -> Timestamp {
        self.first.time(point)
    }
}
