import numpy as np
import pytest

from export_openanomaly import reference

NAN = float("nan")


def test_contexts_end_together_and_are_cut():
    batch = reference.left_padded([np.array([1.0, 2.0]), np.array([3.0, 4.0, 5.0, 6.0])], longest=3)
    np.testing.assert_array_equal(batch, [[NAN, 1, 2], [4, 5, 6]])


@pytest.mark.parametrize(
    ("row", "mean", "deviation"),
    [([1e8 - 1, 1e8 + 1], 1e8, 1.0), ([NAN, 4.0, NAN, 8.0], 6.0, 2.0), ([3.0, 3.0], 3.0, 1.0), ([NAN, NAN], 0.0, 1.0)],
)
def test_centring_keeps_what_f32_would_lose(row, mean, deviation):
    batch, found_mean, found_deviation = reference.centred(np.array([row]))
    assert (found_mean.item(), found_deviation.item()) == (mean, deviation)
    np.testing.assert_allclose(batch * deviation + mean, [row], rtol=1e-12)


def test_masses_are_half_of_the_way_to_each_neighbour():
    np.testing.assert_allclose(reference.masses([0.1, 0.5, 0.9]), np.array([0.25, 0.4, 0.25]) / 0.9)


@pytest.mark.parametrize(("level", "value"), [(0.05, 1.0), (0.25, 1.0), (0.5, 2.0), (0.625, 2.5), (1.0, 4.0)])
def test_weighted_quantiles_of_equal_weights(level, value):
    samples = np.array([4.0, 1.0, 3.0, 2.0]).reshape(1, 4, 1)
    assert reference.weighted_quantiles(samples, np.full(4, 2.0), [level]).item() == pytest.approx(value)


def test_a_heavy_sample_takes_its_share():
    samples = np.array([10.0, 0.0]).reshape(1, 2, 1)
    assert reference.weighted_quantiles(samples, np.array([9.0, 1.0]), [0.1, 0.55])[0, :, 0] == pytest.approx([0.0, 5.0])


def test_held_is_only_what_follows_the_last_value():
    held = reference.held(np.array([[NAN, 1, NAN, 3, NAN, NAN], [NAN] * 6, [1, 2, 3, 4, 5, 6]]))
    np.testing.assert_array_equal(held, [[NAN, 1, NAN, 3, 3, 3], [NAN] * 6, [1, 2, 3, 4, 5, 6]])


def test_crossing_quantiles_move_away_from_the_median():
    crossed = np.array([5, 1, 3, 9, 4, 3, 6, 5, 7.0]).reshape(1, 9, 1)
    assert reference._uncrossed(crossed)[0, :, 0].tolist() == [1, 1, 3, 4, 4, 4, 6, 6, 7]


def graph_that_counts(horizon, levels):
    """A graph that answers how many points it saw, and how often it was asked."""
    asked = []

    def run(feeds):
        asked.append({name: array.shape for name, array in feeds.items()})
        steps = feeds["future"].shape[1] if "future" in feeds else horizon
        return [np.full((len(feeds["context"]), levels, steps), feeds["context"].shape[1], dtype=np.float32)]

    return run, asked


def test_bolt_multiplies_the_batch_after_the_first_pass():
    run, asked = graph_that_counts(horizon=4, levels=3)
    answer = reference.bolt(run, [np.array([-1.0, 1.0])] * 2, 9, [0.1, 0.5, 0.9], context_max=8)
    assert [shape["context"] for shape in asked] == [(2, 2), (6, 6), (6, 8)]
    assert answer[0, 0].tolist() == [2] * 4 + [6] * 4 + [8]


def test_chronos2_asks_for_no_more_than_the_horizon_needs():
    run, asked = graph_that_counts(horizon=4, levels=9)
    reference.chronos2(run, [np.array([-1.0, 1.0])], [0], [None], 5, reference.UNROLLED, context_max=64, patch=4, one_pass=16)
    reference.chronos2(run, [np.array([-1.0, 1.0])], [0], [None], 18, reference.UNROLLED, context_max=64, patch=4, one_pass=16)
    assert [shape["future"] for shape in asked] == [(1, 8), (1, 16), (9, 4)]


def test_toto_goes_on_from_medians():
    run, asked = graph_that_counts(horizon=4, levels=9)
    answer = reference.toto(run, [np.array([-1.0, 1.0])], [0], [None], 6, context_max=64, patch=4, one_pass=4)
    assert [(shape["context"], shape["future"]) for shape in asked] == [((1, 2), (1, 4)), ((1, 6), (1, 4))]
    assert answer[0, 0].tolist() == [2] * 4 + [6] * 2
