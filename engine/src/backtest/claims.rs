//! What is known of ranges: that something happened there, or that nothing there is to count.

use std::collections::BTreeMap;

use tsdb::Timestamp;

use super::cases::{Case, Said};
use super::scope::Scope;

/// What is said of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Something happened, and is to be found.
    Event,
    /// Nothing there is to be found, and what is found is not wrong.
    Neither,
}

/// Ranges of which something is known, their first and last points among them. Where several hold, the last one counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Claims(Vec<(Scope, Span)>);

/// A range in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Span {
    from_ms: i64,
    until_ms: i64,
    claim: Claim,
}

impl Claims {
    /// What people said, the oldest first.
    pub fn said(cases: &[Case]) -> Self {
        let span = |case: &Case| {
            let claim = if case.said == Said::Anomaly { Claim::Event } else { Claim::Neither };
            (case.scope.clone(), Span { from_ms: case.from_ms, until_ms: case.until_ms, claim })
        };
        Self(cases.iter().map(span).collect())
    }

    /// Adds that something happened to the series of `scope` from one time to another.
    pub fn add_event(&mut self, scope: Scope, from: Timestamp, until: Timestamp) {
        self.0.push((scope, Span { from_ms: from.millis(), until_ms: until.millis(), claim: Claim::Event }));
    }

    /// Whether anything is known to have happened.
    pub fn has_events(&self) -> bool {
        self.0.iter().any(|(_, span)| span.claim == Claim::Event)
    }

    /// What is known of the series `name`, whose labels those are.
    pub fn of(&self, name: &str, labels: &BTreeMap<String, String>) -> Claimed {
        let own = self.0.iter().filter(|(scope, _)| scope.holds(name, labels));
        Claimed(own.map(|(_, span)| *span).collect())
    }
}

/// What is known of one series.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Claimed(Vec<Span>);

impl Claimed {
    /// What is known of the point at `time`.
    pub fn at(&self, time: Timestamp) -> Option<Claim> {
        let holds = |span: &&Span| (span.from_ms..=span.until_ms).contains(&time.millis());
        self.0.iter().rev().find(holds).map(|span| span.claim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is known of the seconds 0 to 9 of a series of the host `a`: `#` an event, `-` neither, `.` nothing.
    fn check(cases: &[(&str, i64, i64, Said)], expected: &str) {
        let labels = |host: &str| BTreeMap::from([("host".to_owned(), host.to_owned())]);
        let case = |&(host, from, until, said): &(&str, i64, i64, Said)| Case {
            id: "1".into(),
            scope: Scope::any_of(host.split(' ').map(labels).collect()),
            from_ms: from * 1000,
            until_ms: until * 1000,
            said,
            note: String::new(),
        };
        let claims = Claims::said(&cases.iter().map(case).collect::<Vec<_>>());
        let own = claims.of("cpu", &labels("a"));
        let mark = |second| match own.at(Timestamp::from_seconds(second)) {
            Some(Claim::Event) => '#',
            Some(Claim::Neither) => '-',
            None => '.',
        };
        assert_eq!((0..10).map(mark).collect::<String>(), expected, "{cases:?}");
        assert_eq!(claims.has_events(), cases.iter().any(|case| case.3 == Said::Anomaly), "{cases:?}");
    }

    #[test]
    fn the_last_that_holds_for_a_series_counts() {
        check(&[], "..........");
        check(&[("a", 2, 4, Said::Anomaly), ("b", 0, 9, Said::Anomaly)], "..###.....");
        check(&[("b a", 8, 20, Said::Anomaly)], "........##");
        check(&[("a", 0, 1, Said::Expected), ("a", 5, 5, Said::Maintenance)], "--...-....");
        check(&[("a", 0, 6, Said::Anomaly), ("a", 2, 3, Said::Expected), ("a", 3, 3, Said::Anomaly)], "##-####...");
    }
}
