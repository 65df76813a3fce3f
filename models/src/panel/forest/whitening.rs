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
        match &self.factor {
            Some(factor) => solved(factor, vector.iter().zip(&self.means).map(|(value, mean)| value - mean)),
            None => vector.to_vec(),
        }
    }

    /// What [`Self::apply`] makes of the vector that it made `own` of, if the values at `places` were their means given all
    /// others; where nothing is taken out, the context's medians.
    pub(super) fn expecting(&self, own: &[f64], places: &[usize]) -> Vec<f64> {
        let mut replaced = own.to_vec();
        let Some(factor) = &self.factor else {
            places.iter().for_each(|place| replaced[*place] = 0.0);
            return replaced;
        };
        // The density of `own` falls with its length alone, and a value moves it along one direction: the mean is where it
        // is shortest. Directions of several values are made orthogonal first.
        let mut directions: Vec<Vec<f64>> = vec![];
        for place in places {
            let unit = (0..own.len()).map(|at| f64::from(u8::from(at == *place)));
            let mut direction = solved(factor, unit);
            directions.iter().for_each(|other| shorten(&mut direction, other));
            shorten(&mut replaced, &direction);
            directions.push(direction);
        }
        replaced
    }

    /// The value at `place` of the vector that [`Self::apply`] makes `own` of.
    pub(super) fn restored(&self, own: &[f64], place: usize) -> f64 {
        match &self.factor {
            Some(factor) => self.means[place] + dot(&factor[place], own),
            None => own[place],
        }
    }
}

/// Takes the part of `vector` along `direction` out of it.
fn shorten(vector: &mut [f64], direction: &[f64]) {
    let part = dot(vector, direction) / dot(direction, direction);
    vector.iter_mut().zip(direction).for_each(|(value, along)| *value -= part * along);
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The vector that the lower triangular `factor` makes `values` of.
fn solved(factor: &[Vec<f64>], values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut own: Vec<f64> = Vec::with_capacity(factor.len());
    for (value, row) in values.zip(factor) {
        own.push((value - dot(row, &own)) / row[own.len()]);
    }
    own
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
