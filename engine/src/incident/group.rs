//! Which episodes of different series belong together, so that one cause is one alert.

use std::time::Duration;

use tsdb::Timestamp;

use super::{Episode, weight};

/// How many times the reach may lie between the beginnings of two episodes that belong together.
const YOUNG: u32 = 4;

/// What an episode must weigh to join others: two points at a score of 1.5, or one at 3. Where a band holds 95% of all
/// points, some series is a little outside it at any time.
const JOINS: f64 = 3.0;

/// The groups of `episodes`, as their indices: two belong together where they overlap in time, or nearly so (`reach`),
/// and begin within four times the reach of each other; and so on from one to the next. What lasts for a day doesn't
/// draw in what begins much later, which has a cause of its own; and what is faint or short belongs to what it is
/// nearest to, but joins nothing else to that.
///
/// The groups stand in the order of their beginnings, and so do the episodes of a group. They depend on the episodes
/// alone, not on the order in which these were found.
pub fn together(episodes: &[Episode], reach: Duration) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..episodes.len()).collect();
    order.sort_by_key(|&at| (episodes[at].first, episodes[at].last, at));
    let joins = |at: &usize| weight(episodes[*at].peak.score, episodes[*at].points) >= JOINS;
    let (strong, faint): (Vec<usize>, Vec<usize>) = order.iter().copied().partition(joins);
    let mut sets = Sets((0..episodes.len()).collect());
    link(episodes, &strong, reach, &mut sets);
    let near = |at: &usize| nearest(episodes, &strong, *at, reach).inspect(|&other| sets.join(other, *at)).is_none();
    let alone: Vec<usize> = faint.into_iter().filter(near).collect();
    link(episodes, &alone, reach, &mut sets);
    let mut groups: Vec<Vec<usize>> = vec![];
    let mut places = vec![None; episodes.len()];
    for at in order {
        let place = *places[sets.root(at)].get_or_insert_with(|| {
            groups.push(vec![]);
            groups.len() - 1
        });
        groups[place].push(at);
    }
    groups
}

/// Whether an episode that begins at `first` belongs to `earlier`, which begins no later.
fn belongs(first: Timestamp, earlier: &Episode, reach: Duration) -> bool {
    first <= earlier.first + reach * YOUNG && first <= earlier.last + reach
}

/// Joins those of `sorted` that belong together.
fn link(episodes: &[Episode], sorted: &[usize], reach: Duration, sets: &mut Sets) {
    // Those that a later one may still belong to. Each begins before the next one and ends after it.
    let mut open: Vec<usize> = vec![];
    for &at in sorted {
        let Episode { first, last, .. } = episodes[at];
        open.retain(|&other| belongs(first, &episodes[other], reach));
        open.iter().for_each(|&other| sets.join(other, at));
        // Whatever belongs to one that ended no later belongs to this one too, and so to both.
        open.retain(|&other| episodes[other].last > last);
        open.push(at);
    }
}

/// The one of `sorted` that `at` belongs to and that begins nearest to it, the earlier of two that are as near.
fn nearest(episodes: &[Episode], sorted: &[usize], at: usize, reach: Duration) -> Option<usize> {
    let own = &episodes[at];
    let split = sorted.partition_point(|&other| episodes[other].first <= own.first);
    let gap = |other: usize| (episodes[other].first.millis() - own.first.millis()).abs();
    let is_near = |other: &usize| episodes[*other].first <= own.first + reach * YOUNG;
    let was_near = |other: &usize| own.first <= episodes[*other].first + reach * YOUNG;
    let before = sorted[..split].iter().rev().copied().take_while(was_near);
    let before = before.into_iter().find(|&other| belongs(own.first, &episodes[other], reach));
    let mut after = sorted[split..].iter().copied().take_while(is_near);
    let after = after.find(|&other| belongs(episodes[other].first, own, reach));
    [before, after].into_iter().flatten().min_by_key(|&other| gap(other))
}

/// Disjoint sets of indices: each points to another one of its set, and the root to itself.
struct Sets(Vec<usize>);

impl Sets {
    fn root(&mut self, mut at: usize) -> usize {
        while self.0[at] != at {
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[b] = a;
    }
}

/// Which known incident each of `groups` goes on with, given the one that each episode was part of so far. Of several
/// that have become one, that of the earliest episode stays; of one that has fallen apart, the earlier part keeps it.
pub fn inherited<T: Copy + PartialEq>(groups: &[Vec<usize>], of: &[Option<T>]) -> Vec<Option<T>> {
    let mut taken: Vec<T> = vec![];
    let mut inherit = |group: &Vec<usize>| {
        let known = group.iter().filter_map(|&at| of[at]).find(|known| !taken.contains(known));
        taken.extend(known);
        known
    };
    groups.iter().map(&mut inherit).collect()
}

/// Whether an episode from `first` to `last` has lasted for `patience`, so that somebody is told.
pub fn has_lasted(first: Timestamp, last: Timestamp, patience: Duration) -> bool {
    first + patience <= last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incident::{Point, join};

    fn episode(first: i64, last: i64) -> Episode {
        let at = Timestamp::from_seconds(first);
        let peak = Point { at, score: 3.0, actual: 9.0, expected: 5.0, lower: 4.0, upper: 6.0 };
        Episode { first: at, last: Timestamp::from_seconds(last), peak, points: 1 }
    }

    /// One that is faint.
    fn faint(first: i64, last: i64) -> Episode {
        let mut episode = episode(first, last);
        episode.peak.score = 1.2;
        episode
    }

    /// With a reach of 4 s, so that beginnings may lie 16 s apart.
    fn check(spans: &[(i64, i64)], expected: &[&[usize]]) {
        let episodes: Vec<Episode> = spans.iter().map(|(first, last)| episode(*first, *last)).collect();
        assert_eq!(together(&episodes, Duration::from_secs(4)), expected, "{spans:?}");
    }

    #[test]
    fn what_begins_together_is_one_incident() {
        check(&[], &[]);
        check(&[(10, 20)], &[&[0]]);
        check(&[(10, 20), (12, 14), (10, 11)], &[&[2, 0, 1]]);
        check(&[(10, 10), (14, 14), (18, 18)], &[&[0, 1, 2]]);
        check(&[(10, 10), (15, 15)], &[&[0], &[1]]);
    }

    #[test]
    fn what_lasts_does_not_draw_in_what_begins_much_later() {
        check(&[(10, 500), (26, 30), (43, 50)], &[&[0, 1], &[2]]);
        check(&[(10, 500), (20, 22), (35, 36)], &[&[0, 1], &[2]]);
        check(&[(10, 500), (20, 33), (35, 36)], &[&[0, 1, 2]]);
        check(&[(10, 11), (10, 500), (24, 24)], &[&[0, 1, 2]]);
    }

    #[test]
    fn what_is_faint_belongs_to_what_is_nearest_and_joins_nothing_to_it() {
        let check = |episodes: &[Episode], expected: &[&[usize]]| {
            assert_eq!(together(episodes, Duration::from_secs(4)), expected, "{episodes:?}");
        };
        check(&[episode(10, 10), faint(13, 14), episode(18, 20)], &[&[0, 1], &[2]]);
        check(&[episode(10, 10), faint(14, 15), episode(18, 20)], &[&[0, 1], &[2]]);
        check(&[episode(10, 10), faint(14, 15), episode(17, 20)], &[&[0], &[1, 2]]);
        check(&[faint(10, 10), faint(13, 14), faint(18, 20)], &[&[0, 1, 2]]);
        check(&[faint(10, 10), faint(13, 14), episode(18, 20)], &[&[0], &[1, 2]]);
        check(&[faint(10, 10), episode(30, 30)], &[&[0], &[1]]);
        check(&[episode(10, 90), episode(40, 41), faint(48, 48)], &[&[0], &[1], &[2]]);
    }

    #[test]
    fn groups_are_the_same_in_whatever_order_episodes_come() {
        let spans: Vec<(i64, i64)> = (0..60).map(|at| (at * 37 % 211, at * 37 % 211 + at * at % 23)).collect();
        let names = |spans: &[(i64, i64)]| {
            let episodes: Vec<Episode> = spans.iter().map(|(first, last)| episode(*first, *last)).collect();
            let groups = together(&episodes, Duration::from_secs(1));
            let name = |group: &Vec<usize>| {
                let mut name: Vec<_> = group.iter().map(|at| spans[*at]).collect();
                name.sort_unstable();
                name
            };
            groups.iter().map(name).collect::<Vec<_>>()
        };
        let expected = names(&spans);
        assert!(expected.len() > 3 && expected.iter().any(|group| group.len() > 3), "{expected:?}");
        for turn in 1..spans.len() {
            let mut other = spans.clone();
            other.rotate_left(turn);
            other.swap(0, turn / 2);
            assert_eq!(names(&other), expected);
        }
    }

    /// Points of three series come in pieces of any size, late, and twice: in the end the groups are the same.
    #[test]
    fn groups_do_not_depend_on_the_pieces_that_points_come_in() {
        let points = |series: i64| (0..90).filter(move |at| (at / 9 + series) % 4 == 0 && at % 5 != 3);
        let point = |at: i64| episode(at * 3, 0).peak;
        let all: Vec<(usize, Point)> =
            (0..3).flat_map(|series| points(series as i64).map(move |at| (series, point(at)))).collect();
        let grouped = |pieces: Vec<Vec<(usize, Point)>>| {
            let mut known: [Vec<Episode>; 3] = [vec![], vec![], vec![]];
            for piece in pieces {
                for (series, known) in known.iter_mut().enumerate() {
                    let own: Vec<Point> = piece.iter().filter(|(of, _)| *of == series).map(|(_, one)| *one).collect();
                    let joined = join(known, &own, Duration::from_secs(12));
                    let gone: Vec<usize> = joined.iter().flat_map(|one| one.known.clone()).collect();
                    let mut at = 0..;
                    known.retain(|_| !gone.contains(&at.next().unwrap()));
                    known.extend(joined.iter().map(|one| one.episode));
                    known.sort_by_key(|one| one.first);
                }
            }
            together(&known.concat(), Duration::from_secs(12))
        };
        let expected = grouped(vec![all.clone()]);
        assert!(expected.len() > 1);
        let mut late = all.clone();
        late.reverse();
        for size in [1, 2, 7, 30] {
            assert_eq!(grouped(late.chunks(size).map(<[_]>::to_vec).collect()), expected, "late, by {size}");
            let twice = all.chunks(size).chain(all.chunks(size * 2)).map(<[_]>::to_vec).collect();
            assert_eq!(grouped(twice), expected, "twice, by {size}");
        }
    }

    #[test]
    fn an_incident_goes_on_with_the_number_of_its_earliest_episode() {
        let check = |groups: &[&[usize]], of: &[Option<u8>], expected: &[Option<u8>]| {
            let groups: Vec<Vec<usize>> = groups.iter().map(|group| group.to_vec()).collect();
            assert_eq!(inherited(&groups, of), expected);
        };
        check(&[&[0], &[1]], &[None, Some(7)], &[None, Some(7)]);
        check(&[&[0, 1, 2]], &[None, Some(7), Some(8)], &[Some(7)]);
        check(&[&[0], &[1]], &[Some(7), Some(7)], &[Some(7), None]);
        check(&[&[1], &[0, 2]], &[Some(8), Some(7), Some(7)], &[Some(7), Some(8)]);
    }

    #[test]
    fn somebody_is_told_once_it_has_lasted() {
        let at = Timestamp::from_seconds;
        assert!(has_lasted(at(10), at(10), Duration::ZERO));
        assert!(has_lasted(at(10), at(70), Duration::from_secs(60)));
        assert!(!has_lasted(at(10), at(69), Duration::from_secs(60)));
    }
}
