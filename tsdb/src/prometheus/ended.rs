//! Which series of a selector have ended: how each kind of server is asked for its stale markers.
//!
//! No server answers with a marker itself. VictoriaMetrics counts them. In Prometheus a selector heeds a marker, and a
//! range of samples passes over it: what is in the range and not in the selector, which looks back as far, has a marker
//! behind its newest sample. While both hold a series it goes on, and where neither does, its samples just stopped.

use std::time::Duration;

use serde::Deserialize;

use super::client::Client;
use super::settling::{beginning, get, go_duration};
use crate::frame::{Frame, FrameError};
use crate::labels::METRIC_NAME;
use crate::read::ReadFault;
use crate::time::Step;

/// The page on which Prometheus lists its flags.
pub(super) const FLAGS: &str = "/api/v1/status/flags";

/// What carries the metric's name through functions that drop it.
const NAME: &str = "__metric__";

/// A marker shows for as long as the lookback but for the time since the sample before it. Looking so often in a lookback
/// sees every marker that comes within four fifths of it.
const LOOKS_A_LOOKBACK: u32 = 5;

/// How far back the selectors of Prometheus look for a sample; nothing for a server that doesn't say so.
///
/// # Errors
/// The server doesn't answer, or something in front of it answers that it can't yet.
pub(super) async fn lookback(client: &Client) -> Result<Option<Duration>, ReadFault> {
    let page = get(client, FLAGS).await?;
    match page.status().is_success() {
        true => Ok(of_flags(&beginning(page).await?)),
        false => Ok(None),
    }
}

#[derive(Deserialize)]
struct Flags {
    data: Lookback,
}

#[derive(Deserialize)]
struct Lookback {
    #[serde(rename = "query.lookback-delta")]
    lookback: String,
}

fn of_flags(text: &str) -> Option<Duration> {
    let flags: Flags = serde_json::from_str(text).ok()?;
    go_duration(&flags.data.lookback).filter(|lookback| lookback.as_millis() > 0)
}

/// The query that answers something at each point in the `step` before which a marker shows behind the newest sample of a
/// series of `selector`: for a server that looks back as far as `lookback`, or else for VictoriaMetrics.
pub(super) fn question(selector: &str, step: Step, lookback: Option<Duration>) -> String {
    let step = step.millis();
    // A selector may end with a comment.
    let Some(lookback) = lookback.and_then(|lookback| i64::try_from(lookback.as_millis()).ok()) else {
        return format!("(stale_samples_over_time({selector}\n[{step}ms]) keep_metric_names) > 0");
    };
    let look = step.min(lookback / i64::from(LOOKS_A_LOOKBACK)).max(1);
    let named = |series: &str| format!("label_replace({series}, \"{NAME}\", \"$1\", \"{METRIC_NAME}\", \"(.+)\")");
    let (range, instant) =
        (named(&format!("last_over_time({selector}\n[{lookback}ms])")), named(&format!("{selector}\n")));
    format!("max_over_time(({range} unless {instant})[{step}ms:{look}ms])")
}

/// The answer of Prometheus under the names that the series have.
///
/// # Errors
/// Two of them would have the same name.
pub(super) fn renamed(frame: Frame) -> Result<Frame, ReadFault> {
    let (mut series, start, step, points, values) = frame.into_parts();
    for labels in &mut series {
        if let Some(name) = labels.get(NAME) {
            *labels = labels.with(METRIC_NAME, name).with(NAME, "");
        }
    }
    let same = |error: FrameError| ReadFault::Malformed { offset: 0, message: error.to_string() };
    Frame::new(series, start, step, points, values).map_err(same)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Labels;
    use crate::time::Timestamp;

    #[test]
    fn prometheus_says_how_far_it_looks_back() {
        let check = |text: &str, seconds: Option<u64>| assert_eq!(of_flags(text), seconds.map(Duration::from_secs));
        check(r#"{"status":"success","data":{"web.x":"y","query.lookback-delta":"5m"}}"#, Some(300));
        check(r#"{"status":"success","data":{"query.lookback-delta":"1m30s"}}"#, Some(90));
        for none in [
            r#"{"status":"success","data":{"query.lookback-delta":"0s"}}"#,
            r#"{"status":"success","data":{"query.lookback-delta":""}}"#,
            r#"{"status":"success","data":{"query.lookback-delta":"soon"}}"#,
            r#"{"status":"success","data":{"query.lookback-delta":5}}"#,
            r#"{"status":"success","data":{"other":"5m"}}"#,
            r#"{"status":"success","data":null}"#,
            r#"{"status":"error"}"#,
            "-search.latencyOffset=\"30s\"",
            "<html>",
            "",
        ] {
            check(none, None);
        }
    }

    #[test]
    fn each_server_is_asked_in_its_own_words() {
        let step = |seconds: i64| Step::from_millis(seconds * 1000).unwrap();
        let counted = "(stale_samples_over_time(up{a=\"b\"}\n[15000ms]) keep_metric_names) > 0";
        assert_eq!(question("up{a=\"b\"}", step(15), None), counted);
        for (seconds, lookback, range, looks) in [
            (15, 300, "[300000ms]", "[15000ms:15000ms]"),
            (60, 300, "[300000ms]", "[60000ms:60000ms]"),
            (3600, 300, "[300000ms]", "[3600000ms:60000ms]"),
            (60, 10, "[10000ms]", "[60000ms:2000ms]"),
        ] {
            let text = question("up", step(seconds), Some(Duration::from_secs(lookback)));
            assert!(
                text.contains(&format!("last_over_time(up\n{range})")) && text.ends_with(&format!("{looks})")),
                "{text}"
            );
        }
        assert!(question("up", step(60), Some(Duration::from_millis(1))).ends_with(":1ms])"));
    }

    #[test]
    fn names_come_back() {
        let step = Step::from_millis(1000).unwrap();
        let series = ["{__metric__=\"a\", i=\"1\"}", "{__metric__=\"b\", i=\"1\"}", "c{i=\"1\"}"];
        let series = series.map(|text| text.parse().unwrap()).to_vec();
        let frame = renamed(Frame::new(series, Timestamp::default(), step, 1, vec![1.0; 3]).unwrap()).unwrap();
        let expected: [Labels; 3] = ["a{i=\"1\"}", "b{i=\"1\"}", "c{i=\"1\"}"].map(|text| text.parse().unwrap());
        assert_eq!(frame.series(), expected);
        let same = ["{__metric__=\"a\"}", "a"].map(|text| text.parse().unwrap()).to_vec();
        let same = Frame::new(same, Timestamp::default(), step, 1, vec![1.0; 2]).unwrap();
        assert!(matches!(renamed(same), Err(ReadFault::Malformed { .. })));
    }
}
