//! How far outside its band a point was.

use tsdb::Frame;

/// Points and what was expected of them: five frames with the same source series and the same grid.
///
/// Where nothing could be expected (no forecast) or nothing came (a gap), `score` is NaN.
#[derive(Clone, Debug)]
pub struct Scored {
    /// The actual values.
    pub y: Frame,
    /// The expected values: the median of the forecast.
    pub yhat: Frame,
    /// The lower edge of the band.
    pub yhat_lower: Frame,
    /// The upper edge of the band.
    pub yhat_upper: Frame,
    /// 0 where actual = expected, 1 at the edge of the band, above 1 outside.
    pub score: Frame,
}
