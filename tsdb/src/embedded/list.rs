//! Which series there are.

use std::collections::BTreeSet;

use tsink::promql::ast::Expr;
use tsink::{SeriesSelection, Storage};

use super::evaluate::{labels, plain, refusal};
use super::selectors::{bad_regex, selection};
use crate::labels::{Interner, Labels};
use crate::read::{Bound, ReadFault};
use crate::time::Timestamp;

/// The series of the selectors that have a sample from `start` to `end`, both included.
pub(super) fn series(
    storage: &dyn Storage,
    selectors: &[String],
    start: Timestamp,
    end: Timestamp,
    most: usize,
) -> Result<Vec<Labels>, ReadFault> {
    let mut selections = selectors.iter().map(|text| selected(text)).collect::<Result<Vec<_>, _>>()?;
    if selections.is_empty() {
        selections.push(SeriesSelection::new());
    }
    let (mut strings, mut found) = (Interner::default(), BTreeSet::new());
    for selection in selections {
        let selection = selection.with_time_range(start.millis(), end.millis().saturating_add(1));
        let series = storage.select_series(&selection).map_err(|error| ReadFault::Local(error.to_string()))?;
        for series in series {
            found.insert(labels(&mut strings, &series.name, &series.labels)?);
            if found.len() > most {
                return Err(ReadFault::TooLarge { bound: Bound::Series, limit: most as u64 });
            }
        }
    }
    Ok(found.into_iter().collect())
}

fn selected(text: &str) -> Result<SeriesSelection, ReadFault> {
    let bad = |message: String| ReadFault::Query { kind: "bad_data".into(), message };
    let expr: Expr = tsink::promql::parse(text).map_err(refusal)?;
    if let Some(message) = bad_regex(&expr) {
        return Err(bad(message));
    }
    plain(&expr).map(selection).ok_or_else(|| bad(format!("`{text}` is no series selector")))
}
