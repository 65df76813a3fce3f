//! Remote write requests as others send them.

use prost::Message;

use super::proto::{TimeSeries, WriteRequest};
use crate::labels::{LabelError, Labels};
use crate::time::Timestamp;
use crate::write::Samples;

/// Why a request can't be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// It is not compressed as it should be.
    #[error("the request is no snappy block: {0}")]
    Snappy(#[from] snap::Error),
    /// It would be too large.
    #[error("the request is {bytes} bytes without compression, and {most} at most are taken")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// What is allowed.
        most: usize,
    },
    /// It is no message of remote write 1.0.
    #[error("the request is no remote write 1.0: {0}")]
    Message(#[from] prost::DecodeError),
    /// A series has no right name.
    #[error("series {at} of the request: {source}")]
    Labels {
        /// Which, from 0.
        at: usize,
        /// What is wrong.
        source: LabelError,
    },
}

/// The series of a request of remote write 1.0; `most` bytes without compression. Metadata and exemplars are left out.
///
/// # Errors
/// What is no such request, or too large.
pub fn write_request(body: &[u8], most: usize) -> Result<Vec<Samples>, DecodeError> {
    let bytes = snap::raw::decompress_len(body)?;
    if bytes > most {
        return Err(DecodeError::TooLarge { bytes, most });
    }
    let plain = snap::raw::Decoder::new().decompress_vec(body)?;
    let request = WriteRequest::decode(plain.as_slice())?;
    let series = request.timeseries.into_iter().enumerate();
    series.map(|(at, series)| samples(series).map_err(|source| DecodeError::Labels { at, source })).collect()
}

fn samples(series: TimeSeries) -> Result<Samples, LabelError> {
    let labels = Labels::new(series.labels.into_iter().map(|label| (label.name, label.value)))?;
    let samples = series.samples.iter().map(|sample| (Timestamp::from_millis(sample.timestamp), sample.value));
    Ok(Samples { labels, samples: samples.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prometheus::proto::{Label, Sample};

    fn request(labels: &[(&str, &str)]) -> Vec<u8> {
        let labels =
            labels.iter().map(|(name, value)| Label { name: (*name).into(), value: (*value).into() }).collect();
        let samples = vec![Sample { value: 1.5, timestamp: 7 }, Sample { value: f64::INFINITY, timestamp: 3 }];
        let request = WriteRequest { timeseries: vec![TimeSeries { labels, samples }] };
        snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap()
    }

    #[test]
    fn series_come_as_they_were_sent() {
        let found = write_request(&request(&[("job", "a"), ("__name__", "up")]), 1000).unwrap();
        let samples = vec![(Timestamp::from_millis(7), 1.5), (Timestamp::from_millis(3), f64::INFINITY)];
        assert_eq!(found, [Samples { labels: "up{job=\"a\"}".parse().unwrap(), samples }]);
    }

    #[test]
    fn what_is_no_request_is_told() {
        let check = |body: &[u8], most, part: &str| {
            let error = write_request(body, most).unwrap_err().to_string();
            assert!(error.contains(part), "{error} doesn't say {part}");
        };
        check(b"", 1000, "snappy");
        check(b"not snappy at all", 1000, "snappy");
        check(&request(&[("a", "b")]), 10, "and 10 at most");
        check(&request(&[("a", "b"), ("a", "c")]), 1000, "series 0 of the request: the label `a` is there twice");
        let garbage = snap::raw::Encoder::new().compress_vec(&[0xff; 20]).unwrap();
        check(&garbage, 1000, "remote write 1.0");
    }
}
