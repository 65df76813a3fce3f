//! A server in memory.

use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tsdb::prometheus::encode::{Encoder, Points, Series};
use tsdb::prometheus::matrix::{Parser, Rows};
use tsdb::{Answer, Frame, Labels, Limits, RangeQuery, Read, ReadError, Timestamp, Write, WriteError, Written};

/// Answers with the bytes that a real server sends, through the real parser, and takes what is written as the bytes
/// of remote write, through the real encoder. There is no socket, and nobody else's work is in what is measured.
pub struct Loopback {
    series: Vec<Labels>,
    /// The answer that is ready, and the time of its one point.
    ready: Mutex<(Timestamp, String)>,
    encoder: Mutex<Encoder>,
}

impl Loopback {
    /// A server of these series.
    pub fn new(series: Vec<Labels>) -> Self {
        Self { series, ready: Mutex::default(), encoder: Mutex::default() }
    }

    /// Makes the answer for one point ahead of the question, so that its making isn't measured.
    pub fn prepare(&self, time: Timestamp) {
        *lock(&self.ready) = (time, body(&self.series, time));
    }

    fn answer(&self, query: &RangeQuery, limits: &Limits) -> Answer {
        let ready = lock(&self.ready);
        if query.points() > 1 || ready.0 != query.start() {
            let frame = crate::frame(&self.series, query.start(), query.points());
            return Answer { frame, warnings: vec![], bytes: 0 };
        }
        let mut rows = Rows::new(query, limits);
        let mut parser = Parser::new(&mut rows);
        parser.feed(ready.1.as_bytes()).expect("the answer is good");
        parser.finish().expect("the answer is whole");
        let (frame, warnings, bytes) = rows.finish().expect("the rows make a frame");
        Answer { frame, warnings, bytes }
    }
}

#[async_trait]
impl Read for Loopback {
    async fn read(&self, query: &RangeQuery, limits: &Limits) -> Result<Answer, ReadError> {
        Ok(self.answer(query, limits))
    }
}

#[async_trait]
impl Write for Loopback {
    async fn write(&self, frames: &[Frame]) -> Result<Written, WriteError> {
        let mut encoder = lock(&self.encoder);
        let mut written = Written::default();
        for frame in frames {
            let series: Vec<Series<'_>> = frame.rows().map(|row| series(frame, row)).collect();
            let (body, samples) = encoder.encode(&series);
            written.bytes += body.len() as u64;
            written.samples += samples;
        }
        Ok(written)
    }

    async fn takes_ahead(&self) -> Duration {
        Duration::from_secs(3600)
    }
}

fn series<'a>(frame: &'a Frame, (labels, values): (&'a Labels, &'a [f64])) -> Series<'a> {
    Series { labels, points: Points::Grid { start: frame.start(), step: frame.step(), values } }
}

/// What `query_range` answers for one point of every series.
fn body(series: &[Labels], time: Timestamp) -> String {
    let mut body = String::from(r#"{"status":"success","data":{"resultType":"matrix","result":["#);
    for (row, labels) in series.iter().enumerate() {
        let comma = if row == 0 { "" } else { "," };
        let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name:?}:{value:?}")).collect();
        let (metric, seconds, value) = (pairs.join(","), time.millis() / 1000, crate::value(row, time));
        write!(body, r#"{comma}{{"metric":{{{metric}}},"values":[[{seconds},"{value}"]]}}"#)
            .expect("a string takes all");
    }
    body + "]}}"
}

/// No holder of these locks leaves anything half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
