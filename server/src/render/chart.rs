//! A series drawn with characters: braille dots for the values, shading for the band, red for anomalies.

use std::io::{self, Write};
use std::ops::Range;

use engine::Scored;
use tsdb::{Step, Timestamp};

use super::format::{Ink, Paint, cut, number, time};

/// The characters to the left of the plot: the scale and the axis.
const SCALE: usize = 12;

/// What is drawn: one series on its grid. All slices are equally long, gaps are NaN.
#[derive(Clone, Copy, Debug)]
pub struct Trace<'a> {
    /// The time of the first point.
    pub start: Timestamp,
    /// The distance between two points.
    pub step: Step,
    /// The actual values.
    pub y: &'a [f64],
    /// The expected values; drawn where there is no actual one.
    pub yhat: &'a [f64],
    /// The lower edge of the band.
    pub lower: &'a [f64],
    /// The upper edge of the band.
    pub upper: &'a [f64],
    /// The scores; empty where nothing was scored.
    pub score: &'a [f64],
}

impl<'a> Trace<'a> {
    /// The points `range` of the row `row`.
    ///
    /// # Panics
    /// Where there is no such row, or the range is beyond the frame.
    pub fn of(scored: &'a Scored, row: usize, range: Range<usize>) -> Self {
        Self {
            start: scored.y.time(range.start),
            step: scored.y.step(),
            y: &scored.y.row(row)[range.clone()],
            yhat: &scored.yhat.row(row)[range.clone()],
            lower: &scored.yhat_lower.row(row)[range.clone()],
            upper: &scored.yhat_upper.row(row)[range.clone()],
            score: &scored.score.row(row)[range],
        }
    }

    fn time(&self, index: usize) -> Timestamp {
        self.start + self.step.times(index)
    }

    fn anomalous(&self, index: usize) -> bool {
        self.score.get(index).is_some_and(|score| *score > 1.0)
    }
}

/// How large a chart is, in characters, and whether it has colours.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// The width of the whole chart, scale included.
    pub width: usize,
    /// The height of the plot, without title and axis.
    pub height: usize,
    /// Colours.
    pub paint: Paint,
}

impl Style {
    /// How many columns the plot itself has.
    fn columns(self) -> usize {
        self.width.saturating_sub(SCALE).max(16)
    }

    /// How many points can be drawn and still be told apart.
    pub fn readable_points(self) -> usize {
        self.columns() * 4
    }
}

/// The stretch of at most `most` of `points` points in whose middle `centre` lies, as far as the ends allow.
pub fn window(centre: usize, points: usize, most: usize) -> Range<usize> {
    let start = centre.saturating_sub(most / 2).min(points.saturating_sub(most));
    start..(start + most).min(points)
}

/// Draws one series under its title.
///
/// # Errors
/// The writer's.
pub fn draw(title: &str, trace: &Trace<'_>, style: Style, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", style.paint.ink(Ink::Strong, cut(title, style.width)))?;
    let Some(scale) = Scale::of(trace) else {
        return writeln!(out, "  {}", style.paint.ink(Ink::Faint, "no values to draw"));
    };
    let plot = Plot::new(trace, scale, style);
    for row in 0..style.height {
        let label = match row {
            0 => number(scale.high),
            _ if row + 1 == style.height => number(scale.low),
            _ if row == style.height / 2 => {
                let part = (row as f64 + 0.5) / style.height as f64;
                number(scale.high - part * (scale.high - scale.low))
            }
            _ => String::new(),
        };
        let axis = if label.is_empty() { "│" } else { "┤" };
        writeln!(out, "{label:>width$} {axis}{}", plot.line(row), width = SCALE - 2)?;
    }
    axis(trace, &plot, style, out)
}

/// The lowest and the highest value drawn; never equal.
#[derive(Clone, Copy)]
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    /// Holds all values, and of the band what lies within one more range of them: a band may be far wider.
    fn of(trace: &Trace<'_>) -> Option<Self> {
        let line = extent(trace.y.iter().chain(trace.yhat))?;
        let (low, high) = extent(trace.y).unwrap_or(line);
        let (low, high) = (low.min(line.0), high.max(line.1));
        let band = extent(trace.lower.iter().chain(trace.upper)).unwrap_or((low, high));
        let range = high - low;
        let more = if range > 0.0 { range } else { f64::INFINITY };
        let (low, high) = (band.0.max(low - more).min(low), band.1.min(high + more).max(high));
        let pad = if high > low { 0.0 } else { low.abs().max(1.0) * 0.1 };
        Some(Self { low: low - pad, high: high + pad })
    }

    /// From 0 at the top to 1 at the bottom.
    fn depth(self, value: f64) -> f64 {
        (self.high - value) / (self.high - self.low)
    }
}

fn extent<'a>(values: impl IntoIterator<Item = &'a f64>) -> Option<(f64, f64)> {
    values.into_iter().filter(|value| value.is_finite()).fold(None, |extent, &value| {
        let (low, high) = extent.unwrap_or((value, value));
        Some((value.min(low), value.max(high)))
    })
}

/// One character of the plot.
#[derive(Clone, Copy, Default)]
struct Place {
    /// Which of the eight braille dots are set, as the bits of the character.
    dots: u8,
    band: bool,
    anomalous: bool,
    forecast: bool,
}

struct Plot {
    columns: usize,
    height: usize,
    points: usize,
    scale: Scale,
    paint: Paint,
    places: Vec<Place>,
}

impl Plot {
    fn new(trace: &Trace<'_>, scale: Scale, style: Style) -> Self {
        let (columns, height) = (style.columns(), style.height);
        let places = vec![Place::default(); columns * height];
        let mut plot = Self { columns, height, points: trace.y.len(), scale, paint: style.paint, places };
        plot.shade(trace);
        plot.trace(trace.y, |place, index| place.anomalous |= trace.anomalous(index));
        plot.trace(&forecast_only(trace), |place, _| place.forecast |= place.dots == 0);
        plot
    }

    /// The dot column of a point.
    fn x(&self, index: usize) -> usize {
        let last = self.points.saturating_sub(1).max(1);
        (index * (self.columns * 2 - 1) + last / 2) / last
    }

    /// The dot row of a value, at the edge where it lies outside.
    fn y(&self, value: f64) -> usize {
        let dots = self.height * 4;
        let depth = self.scale.depth(value).clamp(0.0, 1.0);
        ((depth * dots as f64) as usize).min(dots - 1)
    }

    /// Marks the places whose middle lies inside the band.
    fn shade(&mut self, trace: &Trace<'_>) {
        for column in 0..self.columns {
            let Some((low, high)) = self.band(trace, column) else { continue };
            for row in 0..self.height {
                let depth = (row as f64 + 0.5) / self.height as f64;
                self.places[row * self.columns + column].band =
                    depth >= self.scale.depth(high) && depth <= self.scale.depth(low);
            }
        }
    }

    /// The mean edges of the band in a column.
    fn band(&self, trace: &Trace<'_>, column: usize) -> Option<(f64, f64)> {
        let from = column * self.points / self.columns;
        let to = ((column + 1) * self.points / self.columns).max(from + 1).min(self.points);
        let mean = |edge: &[f64]| {
            let known: Vec<f64> = edge[from..to].iter().copied().filter(|value| !value.is_nan()).collect();
            (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
        };
        Some((mean(trace.lower)?, mean(trace.upper)?))
    }

    /// Draws the line through `values`, and lets `note` mark the places that the line to a point touches.
    fn trace(&mut self, values: &[f64], note: impl Fn(&mut Place, usize)) {
        let mut before = None;
        for (index, &value) in values.iter().enumerate() {
            if !value.is_finite() {
                before = None;
                continue;
            }
            let here = (self.x(index), self.y(value));
            line(before.unwrap_or(here), here, |x, y| {
                let place = &mut self.places[y / 4 * self.columns + x / 2];
                note(place, index);
                place.dots |= BRAILLE[y % 4][x % 2];
            });
            before = Some(here);
        }
    }

    /// A row of the plot, neighbours of one colour coloured together.
    fn line(&self, row: usize) -> String {
        let places = &self.places[row * self.columns..(row + 1) * self.columns];
        let chunks = places.chunk_by(|a, b| a.ink() == b.ink());
        let painted = chunks.map(|chunk| {
            let text: String = chunk.iter().map(Place::character).collect();
            chunk[0].ink().map_or(text.clone(), |ink| self.paint.ink(ink, &text))
        });
        painted.collect::<String>()
    }
}

impl Place {
    fn ink(&self) -> Option<Ink> {
        match self {
            Self { dots: 0, band: false, .. } => None,
            Self { dots: 0, .. } => Some(Ink::Band),
            Self { anomalous: true, .. } => Some(Ink::Alarm),
            Self { forecast: true, .. } => Some(Ink::Expected),
            _ => Some(Ink::Actual),
        }
    }

    fn character(&self) -> char {
        match self.dots {
            0 if self.band => '░',
            0 => ' ',
            dots => char::from_u32(0x2800 + u32::from(dots)).unwrap_or(' '),
        }
    }
}

/// The bit of each dot of a braille character, by row and column.
const BRAILLE: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];

/// The expected values at and after the last actual one, joined to it: what a forecast adds to the picture.
fn forecast_only(trace: &Trace<'_>) -> Vec<f64> {
    let last = trace.y.iter().rposition(|value| !value.is_nan());
    let value = |index: usize| match last {
        Some(last) if index < last => f64::NAN,
        Some(last) if index == last && last + 1 < trace.y.len() => trace.y[last],
        Some(last) if index == last => f64::NAN,
        _ => trace.yhat[index],
    };
    (0..trace.y.len()).map(value).collect()
}

/// Calls `dot` for every dot of a straight line, both ends included.
fn line(from: (usize, usize), to: (usize, usize), mut dot: impl FnMut(usize, usize)) {
    let (dx, dy) = (to.0 as i64 - from.0 as i64, to.1 as i64 - from.1 as i64);
    let steps = dx.abs().max(dy.abs()).max(1);
    let along = |start: usize, delta: i64, step: i64| {
        (start as i64 + (2 * delta * step + steps).div_euclid(2 * steps)).unsigned_abs() as usize
    };
    for step in 0..=steps {
        dot(along(from.0, dx, step), along(from.1, dy, step));
    }
}

/// The axis, a mark below every anomaly, and the times at both ends and in the middle.
fn axis(trace: &Trace<'_>, plot: &Plot, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let mut marks = vec!['─'; plot.columns];
    for index in (0..plot.points).filter(|index| trace.anomalous(*index)) {
        marks[plot.x(index) / 2] = '▲';
    }
    let chunks = marks.chunk_by(|a, b| a == b).map(|chunk| {
        let text: String = chunk.iter().collect();
        if chunk[0] == '▲' { style.paint.ink(Ink::Alarm, text) } else { text }
    });
    writeln!(out, "{:>width$}╰{}", "", chunks.collect::<String>(), width = SCALE - 1)?;
    let at = |index: usize| time(trace.time(index), trace.step);
    let (first, middle, last) = (at(0), at(plot.points / 2), at(plot.points.saturating_sub(1)));
    let last = if plot.columns > first.len() + last.len() { last } else { String::new() };
    let room = plot.columns.saturating_sub(first.len() + last.len());
    let middle = if room > middle.len() + 4 { middle } else { String::new() };
    let times = format!("{:width$}{first}{middle:^room$}{last}", "", width = SCALE);
    writeln!(out, "{}", style.paint.ink(Ink::Faint, times))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(y: &[f64], lower: &[f64], upper: &[f64], score: &[f64], on: bool) -> String {
        let trace = Trace {
            start: Timestamp::default(),
            step: Step::from_millis(60_000).unwrap(),
            y,
            yhat: &vec![f64::NAN; y.len()],
            lower,
            upper,
            score,
        };
        let mut out = vec![];
        draw("title", &trace, Style { width: 40, height: 5, paint: Paint { on } }, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_anomaly_is_marked_below_and_is_red() {
        let (y, lower, upper) = ([0.0, 0.0, 9.0, 0.0], [-1.0; 4], [1.0; 4]);
        let plain = chart(&y, &lower, &upper, &[0.0, 0.0, 9.0, 0.0], false);
        assert_eq!(plain.matches('▲').count(), 1, "{plain}");
        assert!(!plain.contains('\x1b') && plain.contains('░'), "{plain}");
        assert!(chart(&y, &lower, &upper, &[0.0, 0.0, 9.0, 0.0], true).contains("\x1b[1;31m"));
        assert!(!chart(&y, &lower, &upper, &[0.0; 4], true).contains("\x1b[1;31m"));
    }

    #[test]
    fn every_line_fits_the_width() {
        for y in [vec![1.0], vec![5.0; 3], (0..1000).map(f64::from).collect(), vec![f64::NAN, 1.0, f64::NAN]] {
            let edge = vec![f64::NAN; y.len()];
            let text = chart(&y, &edge, &edge, &[], false);
            assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
            assert_eq!(text.lines().count(), 8);
        }
    }

    #[test]
    fn nothing_to_draw_is_said() {
        assert!(chart(&[f64::NAN], &[f64::NAN], &[f64::NAN], &[], false).contains("no values"));
        assert!(chart(&[], &[], &[], &[], false).contains("no values"));
    }

    #[test]
    fn a_window_stays_inside() {
        for (centre, points, most, expected) in
            [(0, 10, 4, 0..4), (5, 10, 4, 3..7), (9, 10, 4, 6..10), (3, 5, 9, 0..5), (0, 0, 4, 0..0)]
        {
            assert_eq!(window(centre, points, most), expected);
        }
    }
}
