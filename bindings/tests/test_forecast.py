"""The one function of the extension, from Python's side."""

import threading

import numpy as np
import pytest

import openanomaly

DAY = 24


def waves(series=3, days=14):
    hours = np.arange(days * DAY)
    phase = np.arange(series)[:, None]
    return 10 + 5 * np.sin(2 * np.pi * (hours + phase) / DAY) + 0.1 * np.random.default_rng(1).normal(size=(series, days * DAY))


def forecast(values, horizon=DAY, **named):
    return openanomaly.forecast(values, horizon, step_seconds=3600.0, **named)


def test_the_answer_is_series_by_level_by_horizon():
    answer = forecast(waves(), levels=[0.1, 0.5, 0.9])
    assert answer.shape == (3, 3, DAY) and answer.dtype == np.float64
    assert (np.diff(answer, axis=1) >= 0).all()


def test_a_daily_wave_goes_on():
    values = waves(days=15)
    median = forecast(values[:, :-DAY], levels=[0.5])[:, 0]
    assert np.abs(median - values[:, -DAY:]).max() < 1.0


def test_levels_keep_their_order_and_may_repeat():
    low_first = forecast(waves(), levels=[0.1, 0.9])
    assert (forecast(waves(), levels=[0.9, 0.1, 0.9]) == low_first[:, [1, 0, 1]]).all()


def test_any_layout_gives_the_same():
    values = waves()
    for same in (np.asfortranarray(values), np.repeat(values, 2, axis=1)[:, ::2], values[::-1][::-1]):
        np.testing.assert_array_equal(forecast(same), forecast(values))


def test_gaps_are_nan_and_a_series_of_gaps_is_answered_with_nan():
    values = waves()
    values[0, ::7] = np.nan
    values[1] = np.nan
    answer = forecast(values)
    assert np.isfinite(answer[[0, 2]]).all() and np.isnan(answer[1]).all()


def test_nothing_in_nothing_out():
    assert forecast(np.empty((0, 48))).shape == (0, 3, DAY)
    assert forecast(waves(), horizon=0).shape == (3, 3, 0)
    assert np.isnan(forecast(np.empty((2, 0)))).all()


@pytest.mark.parametrize("parameters", [None, {}, {"season": "1d"}, {"season": ["1d", "1w"]}])
def test_parameters_reach_the_model(parameters):
    assert np.isfinite(forecast(waves(days=21), model="seasonal_naive", parameters=parameters)).all()


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"model": "seasonal_naiv"}, "did you mean \"seasonal_naive\""),
        ({"parameters": {"seson": 1}}, "seson"),
        ({"parameters": {"season": float("nan")}}, "parameters"),
        ({"parameters": {"season": object()}}, "parameters"),
        ({"levels": []}, "at least one"),
        ({"levels": [0.5, 1.0]}, "between 0 and 1"),
        ({"levels": [float("nan")]}, "between 0 and 1"),
    ],
)
def test_wrong_arguments_are_named(named, message):
    with pytest.raises(ValueError, match=message):
        forecast(waves(), **named)


@pytest.mark.parametrize("step", [0.0, -1.0, float("nan"), float("inf")])
def test_a_wrong_step_is_named(step):
    with pytest.raises(ValueError, match="step_seconds"):
        openanomaly.forecast(waves(), 1, step_seconds=step)


def test_a_horizon_beyond_memory_is_refused():
    with pytest.raises(ValueError, match="too far"):
        forecast(waves(), horizon=2**62)


@pytest.mark.parametrize("values", [np.zeros(3), np.zeros((2, 3), dtype=np.int64), [[1.0, 2.0]]])
def test_other_arrays_are_a_type_error(values):
    with pytest.raises(TypeError):
        forecast(values)


def test_threads_get_the_same_answers():
    values, answers = waves(), [None] * 4

    def work(at):
        answers[at] = forecast(values)

    threads = [threading.Thread(target=work, args=(at,)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for answer in answers:
        np.testing.assert_array_equal(answer, answers[0])
