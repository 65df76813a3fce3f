//! Which labels tell the series of an incident from the others that a pipeline watches.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use tsdb::Labels;

/// The least part of the incident's series that a label must be on.
const SUPPORT: f64 = 0.5;

/// How many times likelier a series with the label must be part of the incident than one without.
const RISK_RATIO: f64 = 3.0;

/// How likely a label may be so common among the members by chance, all labels that were looked at taken together.
const CHANCE: f64 = 0.05;

/// How many labels are told at most.
const MOST: usize = 3;

/// A label that many series of an incident have, and few others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Telling {
    /// The label's name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// How many series of the incident have it.
    pub inside: usize,
    /// Of how many.
    pub members: usize,
    /// How many of the other series have it.
    pub outside: usize,
    /// Of how many.
    pub others: usize,
}

impl Telling {
    /// The part of the incident's series that have it, less the part of the others that do (Youden's index): 1 where
    /// the label is the incident.
    fn difference(&self) -> f64 {
        self.inside as f64 / self.members as f64 - self.outside as f64 / self.others as f64
    }

    /// How many times likelier a series with the label is part of the incident than one without.
    fn risk_ratio(&self) -> f64 {
        let risk = |members: usize, others: usize| members as f64 / (members + others) as f64;
        let without = risk(self.members - self.inside, self.others - self.outside);
        // Without any other the ratio is infinite, and without any at all 0/0: then all series have the label.
        risk(self.inside, self.outside) / without
    }

    /// The probability that at least as many members have it where the members are drawn by lot: the upper tail of the
    /// hypergeometric distribution.
    fn chance(&self, logs: &[f64]) -> f64 {
        let (all, with) = (self.members + self.others, self.inside + self.outside);
        let choose = |n: usize, k: usize| logs[n] - logs[k] - logs[n - k];
        let of = |k: usize| choose(with, k) + choose(all - with, self.members - k) - choose(all, self.members);
        (self.inside..=with.min(self.members)).map(|k| of(k).exp()).sum()
    }

    fn tells(&self) -> bool {
        self.inside >= 2 && self.inside as f64 >= SUPPORT * self.members as f64 && self.risk_ratio() >= RISK_RATIO
    }
}

impl fmt::Display for Telling {
    /// `47 of 50 have zone=b, and none of the other 450`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value, inside, members, outside, others } = self;
        if inside == members {
            write!(f, "all {members} have {name}={value}")?;
        } else {
            write!(f, "{inside} of {members} have {name}={value}")?;
        }
        match outside {
            0 => write!(f, ", and none of the other {others}"),
            _ => write!(f, ", and {outside} of the other {others}"),
        }
    }
}

/// The logarithms of the factorials of 0 to `last`.
fn log_factorials(last: usize) -> Vec<f64> {
    let steps = (1..=last).scan(0.0, |sum, n| {
        *sum += (n as f64).ln();
        Some(*sum)
    });
    std::iter::once(0.0).chain(steps).collect()
}

/// The labels that tell the series `members` from the others among `watched`, the most telling first. None where there
/// is only one member, or no other series.
///
/// A label is told by support and risk ratio, as in Bailis et al., *MacroBase: Prioritizing Attention in Fast Data*
/// (SIGMOD 2017), section 5: at least half of the members have it, and a series with it is at least three times as
/// likely to be a member as one without. And chance must be unlikely to do the same, by Fisher's exact test with
/// Bonferroni's correction: two of three series are soon alike. Order is by the difference of both parts. Of labels that are on the same
/// series the first by name is told.
pub fn telling(members: &[Labels], watched: &[Labels]) -> Vec<Telling> {
    let inside: BTreeSet<&Labels> = members.iter().collect();
    let others = watched.iter().filter(|labels| !inside.contains(labels)).count();
    if inside.len() < 2 || others == 0 {
        return vec![];
    }
    let mut counts: BTreeMap<(&str, &str), [usize; 2]> = BTreeMap::new();
    for pair in inside.iter().flat_map(|labels| labels.iter()) {
        counts.entry(pair).or_default()[0] += 1;
    }
    for pair in watched.iter().filter(|labels| !inside.contains(labels)).flat_map(|labels| labels.iter()) {
        if let Some(count) = counts.get_mut(&pair) {
            count[1] += 1;
        }
    }
    let members = inside.len();
    let logs = log_factorials(members + others);
    let tested = counts.len() as f64;
    let told = counts.into_iter().map(|((name, value), [inside, outside])| Telling {
        name: name.to_owned(),
        value: value.to_owned(),
        inside,
        members,
        outside,
        others,
    });
    let mut told: Vec<Telling> = told.filter(|one| one.tells() && one.chance(&logs) * tested < CHANCE).collect();
    told.sort_by(|a, b| b.difference().total_cmp(&a.difference()));
    told.dedup_by_key(|one| (one.inside, one.outside));
    told.truncate(MOST);
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `hosts` in each zone, numbered on.
    fn fleet(zones: &[(&str, usize)]) -> Vec<Labels> {
        let series = |(zone, host): (&str, usize)| {
            let name = format!("{zone}{host}");
            Labels::metric("cpu").with("zone", zone).with("host", &name).with("job", "node")
        };
        zones.iter().flat_map(|(zone, hosts)| (0..*hosts).map(move |host| series((zone, host)))).collect()
    }

    fn check(members: &[Labels], watched: &[Labels], expected: &[&str]) {
        let found: Vec<String> = telling(members, watched).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_label_that_an_incident_is_about_is_told() {
        let all = fleet(&[("a", 453), ("b", 47)]);
        let members: Vec<Labels> = all[450..].to_vec();
        check(&members, &all, &["47 of 50 have zone=b, and none of the other 450"]);
        check(&all[453..], &all, &["all 47 have zone=b, and none of the other 453"]);
        check(&all[453..480], &all, &["all 27 have zone=b, and 20 of the other 473"]);
    }

    #[test]
    fn labels_that_all_have_or_few_have_tell_nothing() {
        let all = fleet(&[("a", 10), ("b", 10)]);
        check(&all[5..15], &all, &[]);
        check(&all, &all, &[]);
        check(&all[..1], &all, &[]);
        check(&[], &all, &[]);
        check(&all[..2], &[], &[]);
        check(&[all[0].clone(), all[0].clone()], &all, &[]);
    }

    #[test]
    fn what_chance_does_as_well_tells_nothing() {
        let all = fleet(&[("a", 3), ("b", 2), ("c", 3)]);
        check(&[all[0].clone(), all[1].clone(), all[5].clone()], &all, &[]);
        check(&all[3..5], &all, &[]);
        check(&all[5..], &all, &[]);
        let all = fleet(&[("a", 30), ("b", 3)]);
        check(&all[30..], &all, &["all 3 have zone=b, and none of the other 30"]);
    }

    #[test]
    fn of_labels_that_say_the_same_one_is_told() {
        let with_rack = |labels: Labels| {
            let rack = if labels.get("zone") == Some("b") { "7" } else { "1" };
            labels.with("rack", rack)
        };
        let all: Vec<Labels> = fleet(&[("a", 8), ("b", 4)]).into_iter().map(with_rack).collect();
        check(&all[8..], &all, &["all 4 have rack=7, and none of the other 8"]);
    }
}
