//! A backtest as one file that needs nothing else: no server, no network.

use std::io::{self, Write};

use engine::backtest::diff::Diff;
use engine::backtest::result::{Overall, SeriesResult, Summary};
use serde::Serialize;
use tsdb::{Step, Timestamp};

use super::picture::{Kind, Moment, Strip};
use super::table::{figures, percent, some, thousandths, worst_first};
use super::{CaseOutcome, Change, Picture, Report, Run};
use crate::render::format::{count, duration, number, time};
use crate::render::html::{STYLE, escape, fill, hundredths, pack, unit};

const PAGE: &str = include_str!("../html/backtest.html");
const OWN_STYLE: &str = include_str!("../html/backtest.css");
const SCRIPT: &str = concat!(include_str!("../html/chart.js"), include_str!("../html/backtest.js"));

/// How many bytes the numbers of all charts may take.
const CHART_BYTES: usize = 1_500_000;

/// About how many bytes a point of a chart takes.
const POINT_BYTES: usize = 22;

/// How many series are drawn, at most.
const DRAWN: usize = 100;

/// How many moments are looked at closely, at most.
const MOMENTS: usize = 24;

/// Lines of a table of series or of changes.
const LISTED: usize = 500;

const KEY: &str = "<p class=\"key\"><span><i class=\"y\"></i>value</span><span><i class=\"f\"></i>expected</span>\
    <span><i class=\"b\"></i>band</span><span><i class=\"a\"></i>anomalous</span>\
    <span><i class=\"e\"></i>event, caught</span><span><i class=\"m\"></i>event, missed</span>\
    <span class=\"faint\">drag to zoom, double-click to see all, ← → to step</span></p>";

/// Writes the page. Charts are those of the last run.
///
/// # Errors
/// The writer's.
pub fn html(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let Some(run) = report.runs.last() else { return Ok(()) };
    let data = Data::of(run);
    let parts = [
        ("style", format!("{STYLE}{OWN_STYLE}")),
        ("runs", escape(&format!("Backtest · {}", names(&report.runs)))),
        ("title", escape(&title(&report.sources))),
        ("summary", escape(&sentence(&run.summary))),
        ("figures", table_of_figures(&report.runs)),
        ("changes", changes(&report.changes)),
        ("cases", cases(&report.cases)),
        ("look", look(run)),
        ("key", KEY.into()),
        ("series", series(run, &data)),
        ("left", left_out(run, data.charts.len())),
        ("settings", settings(report)),
        ("data", serde_json::to_string(&data)?.replace('<', "\\u003c")),
        ("script", SCRIPT.into()),
    ];
    fill(PAGE, &parts, out)
}

/// What is replayed; of several the one that charts are of comes last.
fn names(runs: &[Run]) -> String {
    runs.iter().map(|run| run.name.as_str()).collect::<Vec<_>>().join(" → ")
}

/// The names of a few sources, or how many there are.
fn title(sources: &[String]) -> String {
    if sources.len() > 2 { count(sources.len(), "source", "sources") } else { sources.join(", ") }
}

/// What a summary comes to, in a sentence or three.
pub(super) fn sentence(summary: &Summary) -> String {
    let series = count(summary.series, "series", "series");
    let days = number((summary.days / summary.series.max(1) as f64 * 10.0).round() / 10.0);
    let alerts = count(summary.alerts, "alert", "alerts");
    let rate = summary.alerts_a_week.map_or(String::new(), |rate| format!(", {} a week for each", some(Some(rate))));
    let would = if summary.series == 1 { "would have raised" } else { "would together have raised" };
    let mut text = format!("Over {days} days, {series} {would} {alerts}{rate}.");
    if let Some(against) = &summary.against {
        text.push_str(&verdict(against));
    }
    text
}

fn verdict(against: &Overall) -> String {
    let what = match (against.events, against.caught) {
        (0, _) => "There was no event to catch.".to_owned(),
        (events, caught) if events == caught => format!("It caught {}.", all_of(events)),
        (events, 0) => format!("It caught none of the {}.", count(events, "known event", "known events")),
        (events, caught) => format!("It caught {caught} of {}.", count(events, "known event", "known events")),
    };
    let delay = match against.delay_minutes {
        Some(delay) if delay < 1.0 => " Half of them were caught at once.".to_owned(),
        Some(delay) => format!(" Half of them were caught within {} minutes.", some(Some(delay))),
        None => String::new(),
    };
    let wolf = match against.false_alerts {
        0 => " None of the alerts was false.".to_owned(),
        1 => " One of the alerts was false.".to_owned(),
        many => format!(" Of the alerts {many} were false."),
    };
    format!(" {what}{delay}{wolf}")
}

fn all_of(events: usize) -> String {
    if events == 1 {
        "the one known event".into()
    } else {
        format!("all {}", count(events, "known event", "known events"))
    }
}

/// What each figure means, by its name.
fn meaning(figure: &str) -> &'static str {
    match figure {
        "alerts" => "how often somebody would have been told of something, all series together",
        "alerts a series and week" => "the same for one series and one week",
        "incidents" => {
            "the same where alerts of several series that belong together are one, as somebody would be told"
        }
        "coverage of the band" => {
            "the share of points inside the band; near to the confidence that was asked for is good"
        }
        "events" => "what is known to have happened",
        "events caught" => "an alarm came from the start of the event until a little after its end",
        "precision" => "events caught, over those and the false alarms",
        "median delay, minutes" => "from the start of an event to the first alarm, for half of those caught",
        "false alerts" => "alerts away from any event",
        "false alarms a series and week" => {
            "the same for one series and one week, where an alert that goes on counts again every hour"
        }
        "VUS-PR" => "how well scores rank what is anomalous, whatever the threshold: 1 is perfect",
        "recall at 1 false alarm a day" => {
            "the share of events caught, if each series had its best threshold for so many false alarms"
        }
        "recall at 1 false alarm a week" => "the same for a budget of one false alarm a week",
        "… a day, one threshold for all" => {
            "the same with one threshold for all series: are their scores comparable?"
        }
        "… a week, one threshold for all" => "the same for a budget of one false alarm a week",
        _ => "",
    }
}

fn table_of_figures(runs: &[Run]) -> String {
    let names: String = runs.iter().map(|run| format!("<th class=\"n\">{}</th>", escape(&run.name))).collect();
    let head = if runs.len() > 1 { format!("<thead><tr><th></th>{names}</tr></thead>") } else { String::new() };
    let mut rows = String::new();
    for (name, value) in figures() {
        let values: Vec<String> = runs.iter().map(|run| value(&run.summary)).collect();
        if values.iter().any(|value| value != "–") {
            let cells: String = values.iter().map(|value| format!("<td class=\"n\">{}</td>", escape(value))).collect();
            rows += &format!("<tr><td>{}<span>{}</span></td>{cells}</tr>", escape(name), meaning(name));
        }
    }
    format!("<div class=\"wide\"><table class=\"figures\">{head}<tbody>{rows}</tbody></table></div>")
}

fn when(ms: i64) -> String {
    time(Timestamp::from_millis(ms), Step::from_millis(1000).expect("a second is a step"))
}

fn lasted(from_ms: i64, until_ms: i64) -> String {
    match until_ms - from_ms {
        0 => "one point".into(),
        span => duration(std::time::Duration::from_millis(span.unsigned_abs())),
    }
}

fn changes(changes: &[Change]) -> String {
    let part = |change: &Change| {
        let Diff { added, gone, moved, same, .. } = &change.diff;
        let told = |kind: &str, class: &str, told: &engine::backtest::diff::Told| {
            let alert = &told.alert;
            format!(
                "<tr><td class=\"{class}\">{kind}</td><td>{}</td><td>{}</td><td class=\"n\">{:.2}</td><td>{}</td></tr>",
                when(alert.from_ms),
                lasted(alert.from_ms, alert.until_ms),
                alert.peak_score,
                escape(&told.series)
            )
        };
        let moved_row = |moved: &engine::backtest::diff::Moved| {
            format!(
                "<tr><td>moved</td><td>{} → {}</td><td>{} → {}</td><td class=\"n\">{:.2}</td><td>{}</td></tr>",
                when(moved.before.from_ms),
                when(moved.after.from_ms),
                lasted(moved.before.from_ms, moved.before.until_ms),
                lasted(moved.after.from_ms, moved.after.until_ms),
                moved.after.peak_score,
                escape(&moved.series)
            )
        };
        let rows = added.iter().map(|one| told("added", "worse", one));
        let rows = rows.chain(gone.iter().map(|one| told("gone", "hit", one))).chain(moved.iter().map(moved_row));
        let all = added.len() + gone.len() + moved.len();
        let more = all.saturating_sub(LISTED);
        let more = if more > 0 { format!("<p class=\"faint\">… and {more} more.</p>") } else { String::new() };
        let list = format!(
            "<div class=\"scroll\"><table><thead><tr><th>Alert</th><th>Start (UTC)</th><th>Lasted</th>\
             <th class=\"n\">Score</th><th>Series</th></tr></thead><tbody>{}</tbody></table></div>{more}",
            rows.take(LISTED).collect::<String>()
        );
        format!(
            "<h3>{} → {}</h3><p>{} added, {} gone, {} moved, {} as before.</p>{}",
            escape(&change.before),
            escape(&change.after),
            added.len(),
            gone.len(),
            moved.len(),
            same,
            if all > 0 { list } else { String::new() }
        )
    };
    if changes.is_empty() {
        return String::new();
    }
    format!("<section><h2>What changes</h2>{}</section>", changes.iter().map(part).collect::<String>())
}

fn cases(cases: &[CaseOutcome]) -> String {
    if cases.is_empty() {
        return String::new();
    }
    let row = |case: &CaseOutcome| {
        let class = if case.is_broken() { "worse" } else { "" };
        format!(
            "<tr><td class=\"{class}\">{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            case.word(),
            case.said_word(),
            when(case.from_ms),
            when(case.until_ms),
            escape(&format!("{} {}", case.run, case.note))
        )
    };
    format!(
        "<section><h2>What people said</h2><div class=\"scroll\"><table><thead><tr><th>Case</th><th>Verdict</th>\
         <th>From (UTC)</th><th>Until (UTC)</th><th>Pipeline, note</th></tr></thead><tbody>{}</tbody></table></div></section>",
        cases.iter().map(row).collect::<String>()
    )
}

fn look(run: &Run) -> String {
    match run.summary.against {
        Some(_) => "False alarms and missed events first: these are what to look at, and to tune for.".into(),
        None => "The highest scores of each series.".into(),
    }
}

fn series(run: &Run, data: &Data) -> String {
    let has_labels = run.summary.against.is_some();
    let titles: &[&str] = if has_labels {
        &["Days", "Alerts", "Coverage", "Events", "Caught", "False alarms", "VUS-PR"]
    } else {
        &["Days", "Alerts", "Coverage"]
    };
    let titles: String = titles.iter().map(|title| format!("<th class=\"n\">{title}</th>")).collect();
    let row = |one: &&SeriesResult| {
        let chart = data.charts.iter().position(|chart| chart.title == one.series);
        let link = chart.map_or(String::new(), |chart| format!(" data-chart=\"{chart}\" tabindex=\"0\""));
        let cells = [number((one.days * 10.0).round() / 10.0), one.alerts.len().to_string(), percent(one.coverage)];
        let mut cells: String = cells.iter().map(|cell| format!("<td class=\"n\">{cell}</td>")).collect();
        if has_labels {
            cells += &against(one);
        }
        format!("<tr{link}><td>{}</td>{cells}</tr>", escape(&one.series))
    };
    let all = worst_first(run);
    let rows: String = all.iter().take(LISTED).map(row).collect();
    let more = all.len().saturating_sub(LISTED);
    let more = if more > 0 { format!("<p class=\"faint\">… and {more} more.</p>") } else { String::new() };
    format!(
        "<div class=\"scroll\"><table class=\"series\"><thead><tr><th>Series</th>{titles}</tr></thead>\
         <tbody>{rows}</tbody></table></div>{more}{KEY}"
    )
}

fn against(one: &SeriesResult) -> String {
    let Some(against) = &one.against else { return "<td class=\"n\">–</td>".repeat(4) };
    let caught = against.events.iter().filter(|event| event.caught_ms.is_some()).count();
    let class = if caught < against.events.len() { "n worse" } else { "n" };
    format!(
        "<td class=\"n\">{}</td><td class=\"{class}\">{caught}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>",
        against.events.len(),
        against.false_alarms,
        thousandths(against.vus_pr)
    )
}

fn left_out(run: &Run, drawn: usize) -> String {
    match run.series.len().saturating_sub(drawn) {
        0 => String::new(),
        more => format!("<p class=\"faint\">{} not drawn here.</p>", count(more, "series is", "series are")),
    }
}

fn settings(report: &Report) -> String {
    let row = |(name, value): &(String, String)| format!("<dt>{}</dt><dd>{}</dd>", escape(name), escape(value));
    let run = |run: &Run| {
        let rows: String = run.settings.iter().map(row).collect();
        format!("<h3>{}</h3><dl>{rows}</dl>", escape(&run.name))
    };
    let took = format!(
        "<p class=\"faint\">Replayed in {} by openanomaly {}.</p>",
        duration(report.took()),
        env!("CARGO_PKG_VERSION")
    );
    report.runs.iter().map(run).collect::<String>() + &took
}

/// The numbers of all charts.
#[derive(Serialize)]
struct Data {
    moments: Vec<Chart>,
    charts: Vec<Chart>,
}

/// One chart; see `html/chart.js` for how numbers are packed.
#[derive(Serialize)]
struct Chart {
    title: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    note: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    kind: &'static str,
    start: i64,
    step: i64,
    unit: f64,
    y: String,
    f: String,
    l: String,
    u: String,
    s: String,
    /// Events: first and last point, and whether it was caught.
    e: Vec<(i64, i64, u8)>,
}

impl Data {
    fn of(run: &Run) -> Self {
        let mut pictures: Vec<&Picture> = run.pictures.iter().collect();
        pictures.sort_by(|a, b| b.interest.total_cmp(&a.interest));
        pictures.truncate(DRAWN);
        let mut moments: Vec<(&Picture, &Moment)> =
            pictures.iter().flat_map(|picture| picture.moments.iter().map(move |moment| (*picture, moment))).collect();
        moments.sort_by(|(_, a), (_, b)| {
            rank(a).cmp(&rank(b)).then(b.score.unwrap_or(0.0).total_cmp(&a.score.unwrap_or(0.0)))
        });
        let moments = some_of_each(moments);
        let moments: Vec<Chart> = moments.iter().map(|(picture, moment)| Chart::close(picture, moment)).collect();
        let used: usize = moments.iter().map(Chart::bytes).sum();
        let points = CHART_BYTES.saturating_sub(used) / POINT_BYTES / pictures.len().max(1);
        Self { moments, charts: pictures.iter().map(|picture| Chart::whole(picture, points)).collect() }
    }
}

/// False alarms come before misses, and both before what went well.
fn rank(moment: &Moment) -> u8 {
    match moment.kind {
        Kind::False => 0,
        Kind::Missed => 1,
        Kind::Alert => 2,
        Kind::Hit => 3,
    }
}

/// Not only false alarms, where there are many: half of the room at most, unless there is nothing else.
fn some_of_each<'a>(moments: Vec<(&'a Picture, &'a Moment)>) -> Vec<(&'a Picture, &'a Moment)> {
    let (wolf, others): (Vec<_>, Vec<_>) = moments.into_iter().partition(|(_, moment)| moment.kind == Kind::False);
    let room = MOMENTS - others.len().min(MOMENTS / 2);
    wolf.into_iter().take(room).chain(others).take(MOMENTS).collect()
}

impl Chart {
    fn new(title: String, strip: &Strip, picture: &Picture) -> Self {
        let [score, y, f, l, u] = &strip.rows;
        let unit = unit(y);
        let until = strip.start_ms + strip.step_ms * y.len() as i64;
        let inside = picture.events.iter().filter(|event| event.until_ms >= strip.start_ms && event.from_ms <= until);
        Self {
            title,
            note: String::new(),
            kind: "",
            start: strip.start_ms,
            step: strip.step_ms,
            unit,
            y: pack(y, unit),
            f: pack(f, unit),
            l: pack(l, unit),
            u: pack(u, unit),
            s: hundredths(score),
            e: inside.map(|event| (event.from_ms, event.until_ms, u8::from(event.caught_ms.is_some()))).collect(),
        }
    }

    fn whole(picture: &Picture, points: usize) -> Self {
        Self::new(picture.series.clone(), &picture.overview.thin(points.max(100)), picture)
    }

    fn close(picture: &Picture, moment: &Moment) -> Self {
        let (kind, word) = match moment.kind {
            Kind::False => ("false", "False alarm"),
            Kind::Missed => ("missed", "Missed event"),
            Kind::Alert => ("", "Alert"),
            Kind::Hit => ("hit", "Event caught"),
        };
        let score = moment
            .score
            .map_or(String::new(), |score| format!(", score {}", some(Some((score * 100.0).round() / 100.0))));
        let note = format!("{word} · {} · {}{score}", when(moment.from_ms), lasted(moment.from_ms, moment.until_ms));
        Self { note, kind, ..Self::new(picture.series.clone(), &moment.strip, picture) }
    }

    fn bytes(&self) -> usize {
        [&self.title, &self.y, &self.f, &self.l, &self.u, &self.s].iter().map(|text| text.len()).sum::<usize>() + 200
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use engine::backtest::cases::{Outcome, Said};
    use engine::backtest::result::{Against, Alert, Known, Verdict};
    use engine::evaluate::Curve;

    use super::*;

    fn noise(seed: usize) -> f64 {
        ((seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / 1e4
    }

    fn picture(number: usize) -> Picture {
        let row = |seed: usize| (0..800).map(|at| noise(number * 10_000 + seed * 1000 + at)).collect();
        let strip = Strip { start_ms: 0, step_ms: 300_000, rows: std::array::from_fn(row) };
        let moment = |kind| Moment { kind, from_ms: 0, until_ms: 0, score: None, strip: strip.thin(200) };
        Picture {
            series: format!("cpu{{host=\"<{number}>\"}}"),
            interest: number as f64,
            overview: strip.clone(),
            alerts: vec![],
            events: vec![Known { from_ms: 0, until_ms: 600_000, caught_ms: None }],
            moments: [Kind::False, Kind::False, Kind::Missed, Kind::Hit].map(moment).to_vec(),
        }
    }

    fn series(number: usize) -> SeriesResult {
        let alert =
            Alert { from_ms: 0, until_ms: 0, peak_ms: 0, peak_score: 2.0, points: 1, verdict: Some(Verdict::False) };
        let events = vec![Known { from_ms: 0, until_ms: 600_000, caught_ms: None }];
        let against = Against { events, false_alarms: 1, vus_pr: Some(0.5), one_a_day: None, one_a_week: None };
        SeriesResult {
            series: picture(number).series,
            labels: BTreeMap::new(),
            step_seconds: 300.0,
            from_ms: 0,
            until_ms: 240_000_000,
            days: 2.8,
            points: 800,
            scored: 800,
            anomalous: 1,
            coverage: Some(0.9),
            loss: None,
            alerts: vec![alert],
            against: Some(against),
        }
    }

    fn page(count: usize) -> String {
        let results: Vec<SeriesResult> = (0..count).map(series).collect();
        let (summary, pictures) = (Summary::of(&results, count, &Curve::default()), (0..count).map(picture).collect());
        let run = Run { name: "<mstl>".into(), settings: vec![], summary, series: results, pictures };
        let said = Said::Expected;
        let case = CaseOutcome {
            run: run.name.clone(),
            id: "1".into(),
            from_ms: 0,
            until_ms: 0,
            said,
            note: "<b>deploy".into(),
            outcome: Outcome::Broken,
        };
        let mut out = vec![];
        let report = Report {
            sources: vec!["<data>".into()],
            took_seconds: 1.0,
            runs: vec![run],
            changes: vec![],
            cases: vec![case],
        };
        html(&report, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_hundred_series_and_more_stay_under_two_megabytes() {
        for count in [1, 100, 150] {
            let page = page(count);
            assert!(page.len() < 2_000_000, "{count}: {}", page.len());
            assert_eq!(page.contains("not drawn here"), count > 100);
        }
    }

    #[test]
    fn names_are_no_markup_and_nothing_is_left_open() {
        let page = page(2);
        for absent in ["<data>", "<mstl>", "<b>deploy", "host=\"<", "{{"] {
            assert!(!page.contains(absent), "{absent}");
        }
        assert!(page.contains("&lt;b&gt;deploy") && page.contains("What people said"));
        assert!(page.contains("It caught none of the 2 known events. Of the alerts 2 were false."), "{page:.6000}");
    }
}
