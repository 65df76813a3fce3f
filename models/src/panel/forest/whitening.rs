//! What values have in common, taken out of them.

/// More values than this are left as they are: what they have in common could not be told from chance.
const MOST: usize = 64;

/// The part of each value that is taken to be its own at least, so that copies of a value can be told apart.
const OWN: f64 = 1e-4;

/// How far out a value counts for what is usual: incidents say little of that.
const FURTHEST: f64 = 6.0;

/// Makes vectors whose values are uncorrelated, each with a variance of 1, of vectors like those of a context: the inverse
/// of the Cholesky factor of their covariance.
pub(super) struct Whitening {
    means: Vec<f64>,
    /// Lower triangular, row by row; `None` where vectors stay as they are.
    factor: Option<Vec<Vec<f64>>>,
}

impl Whitening {
    /// That of `vectors`, which are of one length.
    pub(super) fn of(vectors: &[Vec<f64>]) -> Self {
        let size = vectors.first().map_or(0, Vec::len);
        let near = |vector: &[f64], at: usize| vector[at].clamp(-FURTHEST, FURTHEST);
        let count = vectors.len() as f64;
        let mean = |at: usize| vectors.iter().map(|vector| near(vector, at)).sum::<f64>() / count;
        let means: Vec<f64> = (0..size).map(mean).collect();
        let covariance = |a: usize, b: usize| {
            let products = vectors.iter().map(|vector| (near(vector, a) - means[a]) * (near(vector, b) - means[b]));
            products.sum::<f64>() / count
        };
        let factor = (size <= MOST).then(|| factor(size, covariance)).flatten();
        Self { means, factor }
    }

    /// `vector` without what its values have in common.
    pub(super) fn apply(&self, vector: &[f64]) -> Vec<f64> {
        let Some(factor) = &self.factor else { return vector.to_vec() };
        let mut own: Vec<f64> = Vec::with_capacity(vector.len());
        for (at, row) in factor.iter().enumerate() {
            let common: f64 = row.iter().zip(&own).map(|(weight, own)| weight * own).sum();
            own.push((vector[at] - self.means[at] - common) / row[at]);
        }
        own
    }
}

/// The Cholesky factor of a covariance; `None` where it has none.
fn factor(size: usize, covariance: impl Fn(usize, usize) -> f64) -> Option<Vec<Vec<f64>>> {
    let mut factor: Vec<Vec<f64>> = Vec::with_capacity(size);
    for at in 0..size {
        let mut row: Vec<f64> = Vec::with_capacity(at + 1);
        for before in &factor {
            let common: f64 = row.iter().zip(before).map(|(a, b)| a * b).sum();
            row.push((covariance(at, row.len()) - common) / before[row.len()]);
        }
        let variance = covariance(at, at) * (1.0 + OWN);
        let own = variance - row.iter().map(|weight| weight * weight).sum::<f64>();
        row.push(own.sqrt());
        if !(own > 0.0 && own.is_finite()) {
            return None;
        }
        factor.push(row);
    }
    Some(factor)
}
