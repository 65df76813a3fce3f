"""What must hold of the network whatever its weights are."""

import numpy as np
import pytest
import torch

from nano.export import halve_weights, to_graph
from nano.model import Config, Nano

SMALL = Config(width=32, hidden=32, layers=2, heads=2, head_hidden=32, rank=2, lags=(12, 24, 48))


def model() -> Nano:
    """A small network whose every weight is at work."""
    found = Nano(SMALL, seed=1)
    with torch.no_grad():
        for p in found.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return found.eval()


def contexts(length: int, count: int = 3) -> torch.Tensor:
    rng = np.random.default_rng(length)
    t = np.arange(length)
    x = np.sin(2 * np.pi * t / 24) + 0.3 * rng.standard_normal((count, length))
    return torch.from_numpy(x.astype(np.float32))


def close(found: torch.Tensor, wanted: torch.Tensor, off: float = 2e-4) -> bool:
    return bool(torch.allclose(found, wanted, rtol=off, atol=off))


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 64, 200, 700])
def test_shape_and_finite(length: int) -> None:
    q = model()(contexts(length))
    assert q.shape == (3, len(SMALL.levels), SMALL.horizon)
    assert torch.isfinite(q).all()


@torch.no_grad()
@pytest.mark.parametrize(("scale", "offset"), [(1.0, 100.0), (1e-3, 0.0), (250.0, 0.0), (3.0, -7.0)])
def test_forecasts_follow_scale_and_offset(scale: float, offset: float) -> None:
    net, x = model(), contexts(150)
    assert close((net(x * scale + offset) - offset) / scale, net(x), 2e-3)


@torch.no_grad()
@pytest.mark.parametrize("missing", [1, 5, 16, 40, 333])
def test_missing_points_on_the_left_change_nothing(missing: int) -> None:
    net, x = model(), contexts(160)
    padded = torch.cat([torch.full((3, missing), torch.nan), x], 1)
    assert close(net(padded), net(x))


@torch.no_grad()
@pytest.mark.parametrize(
    "bad",
    [
        torch.full((200,), torch.nan),
        torch.zeros(200),
        torch.full((200,), 1e6),
        torch.where(torch.arange(200) == 77, 1.0, torch.nan),
        torch.where(torch.arange(200) < 150, torch.sin(torch.arange(200.0)), torch.nan),
    ],
    ids=["all missing", "zero", "constant", "one point", "a gap at the end"],
)
def test_a_row_does_not_depend_on_its_neighbours(bad: torch.Tensor) -> None:
    net, x = model(), contexts(200)
    alone = net(x)
    beside = net(torch.cat([bad[None].float(), x]))
    assert torch.isfinite(beside).all()
    assert close(beside[1:], alone)


@torch.no_grad()
def test_positions_see_only_the_past() -> None:
    net, x = model(), contexts(160)
    changed = x.clone()
    changed[:, 96:] += 5 * torch.randn(3, 64)
    # The mean of the window is subtracted first, which only rounding can show.
    e, _, _ = net.body(x)
    other, _, _ = net.body(changed)
    assert close(e[:, :6], other[:, :6], 5e-3)
    assert not close(e[:, 6:], other[:, 6:], 5e-3)


@torch.no_grad()
def test_the_last_state_is_the_same_on_its_own() -> None:
    net, x = model(), contexts(160)
    assert close(net.body(x)[0][:, -1:], net.body(x, last=True)[0])


@torch.no_grad()
def test_cycles_repeat_what_stood_a_lag_ago() -> None:
    net = model()
    x = torch.arange(96.0)[None] % 24
    _, s, history = net.body(x)
    steps = torch.arange(SMALL.horizon)
    found = net.cycles(history, s.at(slice(-1, None)), torch.tensor([96]), steps)[0, 0]
    z = torch.asinh((steps % 24 - s.centre[0, 0] - s.mean[0, -1]) / s.spread[0, -1])
    for bank in (1, 4):
        assert close(found[bank], z)


def test_the_graph_agrees_with_the_network() -> None:
    import onnxruntime

    net = model()
    graph = to_graph(net)
    for halved, off in ((False, 1e-4), (True, 2e-2)):
        if halved:
            halve_weights(graph)
        session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
        for length in (1, 16, 100, 530):
            x = contexts(length, 5)
            x[1, : length // 2] = torch.nan
            with torch.no_grad():
                wanted = net(x)
            found = torch.from_numpy(session.run(["quantiles"], {"context": x.numpy()})[0])
            assert close(found, wanted, off)
