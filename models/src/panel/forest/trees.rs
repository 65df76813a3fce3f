//! Random trees that tell points apart, and how soon they do.

use std::f64::consts::PI;

use rayon::prelude::*;

use super::super::random::Random;

/// How often a value to cut across is drawn before a node is given up: of those that never move nothing can be told.
const DRAWS: usize = 16;

/// How many times as wide as the points of a node what is acceptable around its cut is: beyond it a cut doesn't count, so
/// that what is far outside is odder than what is at the edge (Liu, Ting and Zhou, "On Detecting Clustered Anomalies Using
/// SCiForest", ECML 2010, section 4).
const ACCEPTABLE: f64 = 2.0;

/// The Euler–Mascheroni constant.
const EULER: f64 = 0.577_215_664_901_532_9;

/// A forest over the vectors of a context.
pub(super) struct Forest {
    trees: Vec<Vec<Node>>,
    /// The mean depth of a search among as many points as a tree has seen.
    usual_depth: f64,
}

/// A node of a tree, which is one `Vec`; the root is the first.
enum Node {
    /// How deep what ends here would lie if all of its points were told apart.
    End {
        depth: f64,
    },
    Cut(Cut),
}

/// Vectors whose `weights` times the values at `at` are below `below` go to `left`, all others to `right`.
struct Cut {
    at: [usize; 2],
    weights: [f64; 2],
    below: f64,
    /// How far from there is acceptable.
    reach: f64,
    left: usize,
    right: usize,
}

impl Cut {
    fn side(&self, vector: &[f64]) -> f64 {
        self.weights[0] * vector[self.at[0]] + self.weights[1] * vector[self.at[1]]
    }
}

impl Forest {
    /// `trees` trees that each see `sample` of `vectors`, which are of one length.
    pub(super) fn new(vectors: &[Vec<f64>], trees: usize, sample: usize, seed: u64) -> Self {
        let sample = sample.min(vectors.len());
        let grow = |which: usize| {
            let mut random = Random::new(seed, which as u64 + 1);
            let mut chosen: Vec<usize> = (0..vectors.len()).collect();
            for at in 0..sample {
                let other = at + random.below(chosen.len() - at);
                chosen.swap(at, other);
            }
            let mut tree = Tree { vectors, random, limit: (sample as f64).log2().ceil() as usize, nodes: vec![] };
            tree.grow(&mut chosen[..sample], 0);
            tree.nodes
        };
        Self { trees: (0..trees).into_par_iter().map(grow).collect(), usual_depth: depth_among(sample) }
    }

    /// How odd `vector` is: towards 1 where it is told apart at once, about 0.5 and below where it is like the others
    /// (Liu et al., equation 2).
    pub(super) fn score(&self, vector: &[f64]) -> f64 {
        let depths = self.trees.iter().map(|tree| depth(tree, vector));
        self.of_depth(depths.sum::<f64>() / self.trees.len() as f64)
    }

    /// The score of what the first cut tells apart.
    pub(super) fn isolated(&self) -> f64 {
        self.of_depth(1.0)
    }

    fn of_depth(&self, depth: f64) -> f64 {
        if self.usual_depth > 0.0 { 2f64.powf(-depth / self.usual_depth) } else { 0.5 }
    }
}

fn depth(tree: &[Node], vector: &[f64]) -> f64 {
    let (mut at, mut beyond) = (0, 0.0);
    loop {
        match &tree[at] {
            Node::End { depth } => return depth - beyond,
            Node::Cut(cut) => {
                let side = cut.side(vector);
                beyond += if (side - cut.below).abs() > cut.reach { 1.0 } else { 0.0 };
                at = if side < cut.below { cut.left } else { cut.right };
            }
        }
    }
}

/// The mean depth of an unsuccessful search in a binary search tree of `points` (Liu et al., equation 1).
fn depth_among(points: usize) -> f64 {
    match points {
        0 | 1 => 0.0,
        2 => 1.0,
        _ => {
            let others = points as f64 - 1.0;
            2.0 * (others.ln() + EULER) - 2.0 * others / points as f64
        }
    }
}

/// A tree that is growing.
struct Tree<'a> {
    vectors: &'a [Vec<f64>],
    random: Random,
    /// How deep it grows: nobody asks how far apart those are that lie together.
    limit: usize,
    nodes: Vec<Node>,
}

impl Tree<'_> {
    /// Adds the node of `points` at `depth`, with all below it; answers where it is.
    fn grow(&mut self, points: &mut [usize], depth: usize) -> usize {
        let at = self.nodes.len();
        self.nodes.push(Node::End { depth: depth as f64 + depth_among(points.len()) });
        if points.len() <= 1 || depth >= self.limit {
            return at;
        }
        let Some(mut cut) = self.cut(points) else { return at };
        let middle = partition(points, |point| cut.side(&self.vectors[point]) < cut.below);
        let (left, right) = points.split_at_mut(middle);
        cut.left = self.grow(left, depth + 1);
        cut.right = self.grow(right, depth + 1);
        self.nodes[at] = Node::Cut(cut);
        at
    }

    /// A cut through `points`; `None` where they can't be told apart.
    fn cut(&mut self, points: &[usize]) -> Option<Cut> {
        let values = self.vectors[points[0]].len();
        for _ in 0..if values == 0 { 0 } else { DRAWS } {
            let at = [self.random.below(values), self.random.below(values)];
            let angle = self.random.unit() * 2.0 * PI;
            // Twice the same value is a cut along its axis.
            let weights = if at[0] == at[1] { [1.0, 0.0] } else { [angle.cos(), angle.sin()] };
            let mut cut = Cut { at, weights, below: 0.0, reach: 0.0, left: 0, right: 0 };
            let sides = points.iter().map(|point| cut.side(&self.vectors[*point]));
            let (low, high) =
                sides.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), side| (low.min(side), high.max(side)));
            cut.reach = ACCEPTABLE * (high - low);
            cut.below = low + (high - low) * (1.0 - self.random.unit());
            if low < cut.below && cut.below <= high {
                return Some(cut);
            }
        }
        None
    }
}

/// Brings those of `points` that are `first` to the front; answers how many there are.
fn partition(points: &mut [usize], first: impl Fn(usize) -> bool) -> usize {
    let mut count = 0;
    for at in 0..points.len() {
        if first(points[at]) {
            points.swap(at, count);
            count += 1;
        }
    }
    count
}
