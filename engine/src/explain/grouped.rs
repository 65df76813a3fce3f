//! What a detector of several series saw of a point, in sentences.

use models::panel::{Others, Part, Reason, Value};
use tsdb::Labels;

use super::{Section, between, distinct, grouped, number};

/// How many values of a vector are told of.
const TOLD: usize = 5;

/// The part of the score that a value must account for to be told of.
const TELLING: f64 = 0.1;

/// Of fewer others it isn't said where half of them lay.
const FEWEST_HALVED: usize = 4;

/// Why a detector of several series found a point of one of them as it did.
#[derive(Clone, Debug, PartialEq)]
pub struct Grouped {
    /// The labels whose values are equal within the group; none where all series of the query are one, or each is one.
    pub by: Vec<String>,
    /// The series of the group: the rows that the reason speaks of.
    pub members: Vec<Labels>,
    /// What was seen.
    pub reason: Reason,
}

impl Grouped {
    /// Whether what was expected of the series, and its band, say nothing of the score.
    pub(super) fn is_beside_band(&self) -> bool {
        matches!(self.reason, Reason::Values { .. })
    }

    /// All of it in a section.
    pub(super) fn section(&self) -> Section {
        match &self.reason {
            Reason::Values { score, parts } if self.members.len() > 1 => {
                Section::new("What was odd about its group", self.values(*score, parts))
            }
            Reason::Values { score, parts } => Section::new("What was odd about it", self.values(*score, parts)),
            Reason::Others(others) => Section::new("What the others of its group did", self.others(others)),
        }
    }

    /// ` of the query whose `zone` is the same`.
    fn which(&self) -> String {
        let names: Vec<String> = self.by.iter().map(|name| format!("`{name}`")).collect();
        let verb = if names.len() == 1 { "is" } else { "are" };
        let same =
            if names.is_empty() { String::new() } else { format!(" whose {} {verb} the same", names.join(" and ")) };
        format!(" of the query{same}")
    }

    fn name(&self, row: usize) -> String {
        self.members.get(row).map_or_else(String::new, |labels| distinct(labels, &self.members))
    }

    fn values(&self, score: f64, parts: &[Part]) -> Vec<String> {
        let mut text = vec![match self.members.len() {
            1 => "It is judged by its value and by its change since the point before, taken together.".to_owned(),
            members => format!(
                "The {} series{} are judged together: each value may be usual by itself and odd beside the others. All \
                 have the same score.",
                grouped(members),
                self.which()
            ),
        }];
        let share = |part: &Part| if score > 0.0 { 1.0 - part.without / score } else { 0.0 };
        let telling: Vec<&Part> = parts.iter().filter(|part| share(part) >= TELLING).take(TOLD).collect();
        text.extend(telling.iter().map(|part| {
            let lower = if part.without > 0.0 {
                format!("{}% lower", number((share(part) * 100.0).round()))
            } else {
                "0".to_owned()
            };
            format!("{} With that, the score would be {lower}.", self.value(part))
        }));
        if telling.is_empty() {
            text.push(
                "No one value makes it odd: with any of them as the others lead one to expect, it is as odd.".into(),
            );
            text.extend(parts.iter().take(TOLD).map(|part| self.value(part)));
        }
        text
    }

    /// What a value was, and what was expected of it.
    fn value(&self, part: &Part) -> String {
        let is_alone = self.members.len() == 1;
        let what = match part.what {
            Value::Row(_) if is_alone => "The value".to_owned(),
            Value::Row(row) => self.name(row),
            Value::Change(_) => "The change since the point before".to_owned(),
            Value::Time(part) => {
                return format!("The time within the {part} is not one at which such values are usual.");
            }
        };
        let (actual, expected) = (number(part.actual), number(part.expected));
        let rest = if is_alone { "the rest leads" } else { "the others lead" };
        format!("{what} was {actual}; {rest} one to expect about {expected}.")
    }

    fn others(&self, others: &Others) -> Vec<String> {
        let Others { count, spread, middle, place, deviation, furthest, as_far } = *others;
        let [lowest, low, median, high, highest] = spread;
        let half =
            if count < FEWEST_HALVED { String::new() } else { format!("half of them were {}, ", between(low, high)) };
        let mut text = vec![format!(
            "It is compared with the other series{}. {} of them had a value at that time: their median was {}, {half}all of \
             them were {}.",
            self.which(),
            grouped(count),
            number(median),
            between(lowest, highest)
        )];
        let usual = match place {
            place if place > 0.0 => format!("It usually lies {} above the median of the group", number(place)),
            place if place < 0.0 => format!("It usually lies {} below the median of the group", number(-place)),
            _ => "It usually lies at the median of the group".to_owned(),
        };
        let side = if deviation < 0.0 { "below" } else { "above" };
        text.push(format!(
            "{usual}, so that {} was expected of it while the median was {}. It was {} {side} that.",
            number(middle + place),
            number(middle),
            number(deviation.abs())
        ));
        text.push(match as_far {
            0 => format!("None of the others was as far from where it usually lies: at most {}.", number(furthest)),
            1 => "One of the others was as far from where it usually lies.".to_owned(),
            _ => format!("{} of the others were as far from where they usually lie.", grouped(as_far)),
        });
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(by: &[&str], members: &[&str], reason: Reason, title: &str, expected: &[&str]) {
        let members = members.iter().map(|text| text.parse().unwrap()).collect();
        let by = by.iter().map(|name| (*name).to_owned()).collect();
        let section = Grouped { by, members, reason }.section();
        let text: Vec<&str> = section.text.iter().map(String::as_str).collect();
        assert_eq!((section.title.as_str(), &text[..]), (title, expected));
    }

    fn part(what: Value, actual: f64, expected: f64, without: f64) -> Part {
        Part { what, actual, expected, without }
    }

    #[test]
    fn the_values_that_make_a_vector_odd_are_named() {
        let parts = vec![
            part(Value::Row(1), 600.0, 1370.0, 0.0),
            part(Value::Row(0), 55.0, 24.25, 0.5),
            part(Value::Time("day"), f64::NAN, f64::NAN, 1.0),
            part(Value::Row(2), 1.0, 1.0, 1.95),
        ];
        let members = ["cpu{job=\"a\"}", "requests{job=\"a\"}", "errors{job=\"a\"}"];
        check(
            &["job"],
            &members,
            Reason::Values { score: 2.0, parts: parts.clone() },
            "What was odd about its group",
            &[
                "The 3 series of the query whose `job` is the same are judged together: each value may be usual by itself \
                 and odd beside the others. All have the same score.",
                "requests was 600; the others lead one to expect about 1,370. With that, the score would be 0.",
                "cpu was 55; the others lead one to expect about 24.25. With that, the score would be 75% lower.",
                "The time within the day is not one at which such values are usual. With that, the score would be 50% lower.",
            ],
        );
    }

    #[test]
    fn where_no_value_alone_is_odd_that_is_said() {
        let parts = vec![part(Value::Row(0), 5.0, 1.0, 2.0), part(Value::Row(1), f64::NAN, 2.0, 2.1)];
        check(
            &[],
            &["up{host=\"a\"}", "up{host=\"b\"}"],
            Reason::Values { score: 2.0, parts },
            "What was odd about its group",
            &[
                "The 2 series of the query are judged together: each value may be usual by itself and odd beside the \
                 others. All have the same score.",
                "No one value makes it odd: with any of them as the others lead one to expect, it is as odd.",
                "host=a was 5; the others lead one to expect about 1.",
                "host=b was nothing; the others lead one to expect about 2.",
            ],
        );
    }

    #[test]
    fn a_series_by_itself_has_a_value_and_a_change() {
        let parts = vec![part(Value::Change(0), 60.0, 0.5, 0.2), part(Value::Row(0), 100.0, 41.0, 0.75)];
        check(
            &[],
            &["up"],
            Reason::Values { score: 1.0, parts },
            "What was odd about it",
            &[
                "It is judged by its value and by its change since the point before, taken together.",
                "The change since the point before was 60; the rest leads one to expect about 0.5. With that, the score \
                 would be 80% lower.",
                "The value was 100; the rest leads one to expect about 41. With that, the score would be 25% lower.",
            ],
        );
    }

    #[test]
    fn what_the_others_did_is_told() {
        let others = Others {
            count: 19,
            spread: [110.0, 118.0, 120.0, 123.0, 131.0],
            middle: 120.0,
            place: 7.0,
            deviation: -25.0,
            furthest: 3.25,
            as_far: 0,
        };
        let title = "What the others of its group did";
        check(
            &["zone", "job"],
            &["up"],
            Reason::Others(others),
            title,
            &[
                "It is compared with the other series of the query whose `zone` and `job` are the same. 19 of them had a \
                 value at that time: their median was 120, half of them were between 118 and 123, all of them were between \
                 110 and 131.",
                "It usually lies 7 above the median of the group, so that 127 was expected of it while the median was 120. \
                 It was 25 below that.",
                "None of the others was as far from where it usually lies: at most 3.25.",
            ],
        );
        let few = Others { count: 2, spread: [5.0; 5], middle: 5.0, place: 0.0, deviation: 4.0, as_far: 1, ..others };
        check(
            &[],
            &["up"],
            Reason::Others(few),
            title,
            &[
                "It is compared with the other series of the query. 2 of them had a value at that time: their median was \
                 5, all of them were 5.",
                "It usually lies at the median of the group, so that 5 was expected of it while the median was 5. It was 4 \
                 above that.",
                "One of the others was as far from where it usually lies.",
            ],
        );
    }
}
