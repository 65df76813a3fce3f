import numpy as np
import pytest
import torch

from export_openanomaly.layers import carried, left_padded_patches, masked_location_scale, split_missing

NAN = float("nan")


def rows(*values):
    return torch.tensor(values, dtype=torch.float32)


@pytest.mark.parametrize(
    ("context", "location", "scale"),
    [
        ([1.0, 2.0, 3.0], 2.0, np.sqrt(2 / 3)),
        ([NAN, 1.0, NAN, 3.0], 2.0, 1.0),
        ([5.0, 5.0], 5.0, 1e-5),
        ([7.0], 7.0, 1e-5),
        ([NAN, NAN], 0.0, 1.0),
    ],
)
def test_location_and_scale_of_what_is_observed(context, location, scale):
    found = masked_location_scale(*split_missing(rows(context)))
    np.testing.assert_allclose([float(value) for value in found], [location, scale], rtol=1e-6)


@pytest.mark.parametrize("time", [1, 3, 4, 5, 8, 9])
def test_patches_end_with_the_last_value(time):
    values = torch.arange(1, time + 1, dtype=torch.float32).unsqueeze(0)
    flat = left_padded_patches(values, 4).reshape(-1)
    assert len(flat) % 4 == 0 and len(flat) - time < 4
    assert flat[-time:].tolist() == values[0].tolist()
    assert not flat[:-time].any()


@pytest.mark.parametrize(
    ("context", "linear", "held", "before"),
    [
        ([1, 2, 3], [1, 2, 3], [1, 2, 3], [0, 0, 0]),
        ([1, NAN, NAN, 4], [1, 2, 3, 4], [1, 1, 1, 4], [0, 0, 0, 0]),
        ([NAN, NAN, 5, NAN, 7], [0, 0, 5, 6, 7], [0, 0, 5, 5, 7], [1, 1, 0, 0, 0]),
        ([2, NAN, NAN], [2, 2, 2], [2, 2, 2], [0, 0, 0]),
        ([NAN, 3, NAN], [0, 3, 3], [0, 3, 3], [1, 0, 0]),
        ([NAN, NAN], [0, 0], [0, 0], [1, 1]),
    ],
)
def test_gaps_are_filled(context, linear, held, before):
    filled, observed = split_missing(rows(context))
    assert [part[0].tolist() for part in carried(filled, observed)] == [linear, before]
    assert carried(filled, observed, linear=False)[0][0].tolist() == held
