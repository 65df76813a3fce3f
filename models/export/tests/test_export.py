import copy
import json
import re

import numpy as np
import onnx
import pytest
from safetensors.numpy import save_file

from export_openanomaly import export as exporting
from export_openanomaly import precision
from export_openanomaly.__main__ import main
from export_openanomaly.contract import PREFIX, sha256_of
from export_openanomaly.errors import ExportError
from export_openanomaly.export import export, export_loaded
from export_openanomaly.families import FAMILIES, Entry, family, name_of
from export_openanomaly.source import Checkpoint, resolve

bolt = pytest.importorskip("export_openanomaly.bolt")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints") / "small-bolt"
    bolt.Bolt().save(bolt.Bolt().random(3), folder)
    return folder


@pytest.fixture(scope="module")
def exported(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    return folder, export(str(checkpoint), folder, license="Apache-2.0")


def test_metadata_and_manifest_say_the_same(exported):
    folder, manifest = exported
    assert json.loads((folder / "manifest.json").read_text()) == manifest
    assert manifest["sha256"] == sha256_of(folder / "model.onnx")
    assert manifest["parity"]["max_error"] <= 1e-4
    told = {entry.key: entry.value for entry in onnx.load(folder / "model.onnx").metadata_props}
    quantiles = [float(level) for level in told.pop(PREFIX + "quantiles").split(",")]
    assert quantiles == manifest["quantiles"]
    for key, value in told.items():
        assert value == str(manifest[key.removeprefix(PREFIX)])


def test_a_graph_says_nothing_of_the_machine_it_was_made_on(exported):
    assert b"site-packages" not in (exported[0] / "model.onnx").read_bytes()


def test_rows_don_t_depend_on_each_other(exported):
    run = exporting.runner(exported[0] / "model.onnx")
    context = np.random.default_rng(0).normal(size=(3, 70)).astype(np.float32)
    (together,) = run({"context": context})
    (alone,) = run({"context": context[1:2]})
    np.testing.assert_allclose(together[1:2], alone, atol=1e-5)


@pytest.fixture(scope="module")
def traced(checkpoint):
    """The family with a graph that is traced once, which is what takes the time."""
    chosen = bolt.Bolt()
    upstream = chosen.load(resolve(str(checkpoint)))
    graph = chosen.graph(upstream)
    chosen.graph = lambda upstream: copy.deepcopy(graph)
    return chosen, upstream


@pytest.mark.parametrize(("weights", "part"), [("fp16", 0.7), ("int8", 0.6)])
def test_smaller_precisions_are_smaller_and_close(traced, checkpoint, exported, tmp_path, weights, part):
    manifest = export_loaded(*traced, resolve(str(checkpoint)), tmp_path, weights)
    assert manifest["precision"] == weights
    assert manifest["bytes"] < part * exported[1]["bytes"]
    assert manifest["parity"]["max_error"] < 0.2


def test_a_tolerance_that_is_given_decides(traced, checkpoint, tmp_path):
    with pytest.raises(ExportError, match="more than 1e-09: not kept"):
        export_loaded(*traced, resolve(str(checkpoint)), tmp_path, tolerance=1e-9)


def test_large_weights_lie_beside_the_graph(traced, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "MESSAGE_LIMIT", 1000)
    manifest = export_loaded(*traced, resolve(str(checkpoint)), tmp_path)
    data = tmp_path / "model.onnx.data"
    assert manifest["external_data"] == {"file": data.name, "sha256": sha256_of(data), "bytes": data.stat().st_size}
    assert manifest["bytes"] < data.stat().st_size


def test_a_graph_that_answers_something_else_is_not_kept(traced, checkpoint, tmp_path):
    chosen, _ = traced
    with pytest.raises(ExportError, match="small-bolt in fp32 is .* from upstream in case .*: not kept"):
        export_loaded(chosen, chosen.random(4), resolve(str(checkpoint)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


CHRONOS = {"chronos_config": {}}
WEIGHTS = {"weight": np.zeros(1, np.float32)}
TIMESFM = dict.fromkeys(["output_projection_quantiles.output_layer.weight", "stacked_xf.0.attn.qkv_proj.weight"], np.zeros(1, np.float32))


def folder_of(tmp_path, config=None, tensors=None, card=None):
    if config is not None:
        (tmp_path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    if tensors:
        save_file(tensors, tmp_path / "model.safetensors")
    if card:
        (tmp_path / "README.md").write_text(card)
    return tmp_path


@pytest.mark.parametrize(
    ("config", "tensors", "name"),
    [
        ({"chronos_pipeline_class": "ChronosBoltPipeline"}, None, "bolt"),
        ({"architectures": ["ChronosBoltModelForForecasting"]}, None, "bolt"),
        ({"chronos_pipeline_class": "Chronos2Pipeline"}, None, "chronos2"),
        ({"residual_attn_ratio": 5.1}, None, "toto"),
        (None, TIMESFM, "timesfm25"),
    ],
)
def test_families_are_known_by_their_files(tmp_path, config, tensors, name):
    assert name_of(Checkpoint("x", folder_of(tmp_path, config, tensors))) == name


@pytest.mark.parametrize(
    ("config", "tensors", "message"),
    [
        ({**CHRONOS, "chronos_pipeline_class": "ChronosPipeline"}, WEIGHTS, "samples token by token"),
        (CHRONOS, WEIGHTS, "samples token by token"),
        ({"architectures": ["LlamaForCausalLM"]}, WEIGHTS, "of no known family"),
        ({"architectures": None}, WEIGHTS, "of no known family"),
        ({}, None, "no \\*.safetensors"),
        ("{", WEIGHTS, "is not JSON"),
        ({"chronos_pipeline_class": "ChronosBoltPipeline"}, WEIGHTS, "can't be loaded as bolt"),
    ],
)
def test_what_can_t_be_exported_is_said(tmp_path, capsys, config, tensors, message):
    folder = folder_of(tmp_path, config, tensors)
    assert main(["export", str(folder), "--output", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ") and re.search(message, told)
    assert not (tmp_path / "out").exists()


def test_weights_that_are_cut_off_are_an_error(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(ExportError, match="can't be read as safetensors"):
        name_of(Checkpoint("x", tmp_path))


@pytest.mark.parametrize("source", ["no-such-folder", "a/b/c", "../x", "with space/x"])
def test_a_source_is_a_folder_or_a_hub_id(source):
    with pytest.raises(ExportError, match="neither a folder nor a hub id"):
        resolve(source)


def test_a_hub_that_can_t_be_reached_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ExportError, match="nobody/nothing can't be fetched from the hub"):
        resolve("nobody/nothing")


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(FAMILIES, "absent", Entry("absent", "Absent", "chronos", lambda checkpoint: False))
    with pytest.raises(ExportError, match=r"pip install 'export-openanomaly\[chronos\]'"):
        family("absent")


@pytest.mark.parametrize(
    ("id", "card", "given", "license"),
    [
        ("amazon/chronos-bolt-tiny", None, None, "Apache-2.0"),
        ("Datadog/Toto-2.0-4m", None, None, "Apache-2.0"),
        ("my-folder", None, None, "unknown"),
        ("my-folder", "---\nlicense: apache-2.0\n---\nText", None, "Apache-2.0"),
        ("google/timesfm-2.5-x", "---\nlicense: other-1.0\n---\n", None, "other-1.0"),
        ("my-folder", "---\nlicense: mit\n---\n", "BSD-3-Clause", "BSD-3-Clause"),
        ("my-folder", "no front matter", None, "unknown"),
    ],
)
def test_the_license_is_found_or_given(tmp_path, id, card, given, license):
    assert Checkpoint(id, folder_of(tmp_path, tensors=WEIGHTS, card=card)).describe(given).license == license


def test_several_files_of_weights_have_one_hash(tmp_path):
    save_file(WEIGHTS, tmp_path / "a.safetensors")
    one = Checkpoint("x", tmp_path).describe(None).sha256
    assert one == sha256_of(tmp_path / "a.safetensors")
    save_file({"more": np.ones(1, np.float32)}, tmp_path / "b.safetensors")
    assert Checkpoint("x", tmp_path).describe(None).sha256 not in (one, sha256_of(tmp_path / "b.safetensors"))
