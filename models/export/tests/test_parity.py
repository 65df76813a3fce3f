import numpy as np
import pytest

from export_openanomaly import parity
from export_openanomaly.case import Case, numbers

CASE = Case("case", [np.array([-1.0, 1.0, np.nan], np.float32)], 2, (0.5,))
WANT = np.array([[[0.0, 3.0]]])


@pytest.mark.parametrize(
    ("found", "error"),
    [
        (WANT, 0.0),
        (WANT + [[[0.1, 0.0]]], 0.1),
        (WANT + [[[0.0, 0.4]]], 0.1),
        (WANT * np.nan, np.inf),
        (WANT[:, :, :1], np.inf),
    ],
)
def test_error_is_relative_to_spread_and_distance(found, error):
    assert parity.error(CASE, WANT, found) == pytest.approx(error)


def test_json_tells_every_f32_from_the_next():
    values = np.array([0.1, np.nextafter(np.float32(0.1), np.float32(1)), np.nan, 1e8], np.float32)
    written = numbers(values)
    assert written[2] is None
    assert np.array([value for value in written if value is not None], np.float32).tolist() == values[[0, 1, 3]].tolist()
