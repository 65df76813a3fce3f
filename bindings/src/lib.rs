//! Python: convert, call, convert.

use std::time::Duration;

use models::{Levels, ModelSpec, Request, Resources};
use numpy::{IntoPyArray, PyArray3, PyArrayMethods, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Forecasts of many time series at once, with quantiles.
#[pymodule]
mod openanomaly {
    #[pymodule_export]
    use super::forecast;
}

/// Forecast every row of `values`.
///
/// Parameters
/// ----------
/// values : numpy.ndarray
///     `[series, time]` of float64, oldest first; a gap is NaN.
/// horizon : int
///     How many points ahead.
/// model : str
///     The id of a model, as in a pipeline's `model.id`.
/// step_seconds : float
///     The distance between two points.
/// levels : sequence of float
///     Quantile levels strictly between 0 and 1, in any order.
/// parameters : dict, optional
///     The model's parameters, as in a pipeline's `model.parameters`.
///
/// Returns
/// -------
/// numpy.ndarray
///     `[series, level, horizon]`, the levels as they were given; NaN for a series without any value.
///
/// Raises
/// ------
/// ValueError
///     An argument is wrong: the message says which, and what is allowed.
#[pyfunction]
#[pyo3(
    signature = (values, horizon, *, model = models::registry::FORECASTER, step_seconds = 60.0, levels = vec![0.025, 0.5, 0.975], parameters = None),
    text_signature = "(values, horizon, *, model='seasonal_naive', step_seconds=60.0, levels=(0.025, 0.5, 0.975), parameters=None)"
)]
fn forecast<'py>(
    py: Python<'py>,
    values: PyReadonlyArray2<'py, f64>,
    horizon: usize,
    model: &str,
    step_seconds: f64,
    levels: Vec<f64>,
    parameters: Option<Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyArray3<f64>>> {
    let step = Duration::try_from_secs_f64(step_seconds).ok().filter(|step| !step.is_zero());
    let step =
        step.ok_or_else(|| PyValueError::new_err(format!("step_seconds must be above 0, not {step_seconds}")))?;
    let (series, points) = (values.shape()[0], values.shape()[1]);
    let size = series.checked_mul(levels.len()).and_then(|rows| rows.checked_mul(horizon));
    if size.is_none_or(|size| size > isize::MAX as usize / 8) {
        return Err(PyValueError::new_err(format!("a horizon of {horizon} is too far")));
    }
    let sorted = Levels::new(levels.clone()).map_err(wrong)?;
    let model = models::build(&ModelSpec::local(model, object(parameters)?), &Resources::default()).map_err(wrong)?;
    // A copy, since another thread may change the array while this one has let go of the interpreter.
    let values: Vec<f64> = values.as_array().iter().copied().collect();
    let found = py.detach(|| {
        let contexts: Vec<&[f64]> = (0..series).map(|row| &values[row * points..(row + 1) * points]).collect();
        model.forecast(&Request::new(&contexts, 0, step, horizon, &sorted))
    });
    let found = found.map_err(wrong)?;
    let places = levels.iter().map(|level| sorted.position(*level).expect("every level is among its sorted copies"));
    let places: Vec<usize> = places.collect();
    let rows = (0..series).flat_map(|row| places.iter().map(move |place| (row, *place)));
    let answer: Vec<f64> = rows.flat_map(|(row, place)| found.quantile(row, place)).copied().collect();
    answer.into_pyarray(py).reshape([series, levels.len(), horizon])
}

/// The model's parameters as JSON, by way of Python's own writer.
fn object(parameters: Option<Bound<'_, PyDict>>) -> PyResult<serde_json::Map<String, serde_json::Value>> {
    let Some(parameters) = parameters else { return Ok(serde_json::Map::new()) };
    let text = parameters.py().import("json")?.call_method1("dumps", (&parameters,));
    let text: String = text.map_err(|error| wrong(format!("parameters: {error}")))?.extract()?;
    serde_json::from_str(&text).map_err(|error| wrong(format!("parameters: {error}")))
}

fn wrong(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}
