import json

import numpy as np
import pytest

from export_openanomaly import reference
from export_openanomaly.cases import series
from export_openanomaly.export import runner
from export_openanomaly.families import FAMILIES
from export_openanomaly.fixtures import make


@pytest.fixture(scope="module", params=list(FAMILIES))
def made(request, tmp_path_factory):
    """One family's fixtures; it fails by itself where the graph is not as good as it must be."""
    pytest.importorskip(f"export_openanomaly.{FAMILIES[request.param].module}")
    folder = tmp_path_factory.mktemp(request.param)
    make(folder, request.param)
    return folder


@pytest.fixture
def cases(made):
    return json.loads((made / "cases.json").read_text())["cases"]


def test_cases_have_the_shapes_that_they_name(cases):
    for case in cases:
        expected = np.array(case["expected"], dtype=float)
        assert expected.shape == (len(case["contexts"]), len(case["levels"]), case["horizon"]), case["name"]
        assert np.isfinite(expected).all(), case["name"]
        if case["groups"] is not None:
            assert len(case["groups"]) == len(case["contexts"]), case["name"]


def test_answers_vary_with_the_context(cases):
    """Else every graph would agree with upstream."""
    (case,) = (case for case in cases if case["name"] == "length-300")
    contexts = [np.array(context, dtype=float) for context in case["contexts"]]
    first, second = ((np.array(rows) - context.mean()) / context.std() for rows, context in zip(case["expected"], contexts, strict=True))
    assert np.abs(first - second).max() > 0.3
    assert first.std() > 0.3


def test_awkward_rows_are_finite_and_leave_the_others_alone(made):
    manifest = json.loads((made / "manifest.json").read_text())
    run = runner(made / "model.onnx")
    time = np.arange(70)
    fine = np.sin(time / 5)
    missing, constant, one = np.full(70, np.nan), np.full(70, 3.0), np.where(time == 69, 5.0, np.nan)

    def ask(*rows):
        feeds = {"context": np.stack(rows).astype(np.float32)}
        if "group_ids" in {tensor["name"] for tensor in manifest["inputs"]}:
            feeds["group_ids"] = np.arange(len(rows))
            feeds["future"] = np.full((len(rows), 2 * manifest["patch"]), np.nan, np.float32)
        return run(feeds)

    for together, alone in zip(ask(fine, missing, constant, one), ask(fine), strict=True):
        assert np.isfinite(together).all()
        np.testing.assert_allclose(together[:1], alone, atol=1e-4)


def test_a_level_of_1e8_changes_nothing(made):
    if "point" in (made / "manifest.json").read_text():
        pytest.skip("one of the other families is enough")
    manifest = json.loads((made / "manifest.json").read_text())
    run = runner(made / "model.onnx")
    context = np.round(series("offset", 200).astype(np.float64), 3)
    ask = {
        "bolt": lambda values: reference.bolt(run, [values], 40, manifest["quantiles"], 2048),
        "chronos2": lambda values: reference.chronos2(run, [values], [0], [None], 40, manifest["quantiles"], 2048, 16, 1024),
        "toto": lambda values: reference.toto(run, [values], [0], [None], 40, 4096, 32, 1024),
    }[manifest["family"]]
    np.testing.assert_allclose(ask(context + 1e8) - 1e8, ask(context), atol=3e-3 * context.std())


def test_toto_beyond_one_pass_is_near_upstream_s_own_way(tmp_path):
    toto = pytest.importorskip("export_openanomaly.toto")
    import onnx
    import torch

    upstream = toto.Toto().random(5)
    context = series("blocks", 320)
    inputs = {
        "target": torch.from_numpy(context)[None, None],
        "target_mask": torch.ones(1, 1, 320, dtype=torch.bool),
        "series_ids": torch.zeros(1, 1, dtype=torch.long),
    }
    expected = upstream.forecast(inputs, 200, **{**toto.OPTIONS, "decode_block_size": 96})[:, 0, 0].numpy()
    onnx.save(toto.Toto().graph(upstream), tmp_path / "model.onnx")
    found = reference.toto(runner(tmp_path / "model.onnx"), [context], [0], [None], 200, 4096, 32, one_pass=96)[0]
    np.testing.assert_allclose(found[:, :96], expected[:, :96], atol=1e-4 * context.std())
    np.testing.assert_allclose(found, expected, atol=2e-2 * context.std())
