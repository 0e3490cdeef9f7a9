"""torch.optim by its functional API against its classes, bit for bit."""

import subprocess
import sys

import pytest
import torch

from l2tune.training.torch_update import SGD, Adam

DECAYS = (0.0, 0.03)
KINDS = ("sgd", "sgd without momentum", "adam", "adamw")


def pair(kind, ours, theirs, *, fused):
    """Our optimizer and torch's, on two copies of the same parameters."""
    groups = list(zip(ours, DECAYS, strict=True))
    named = [{"params": group, "weight_decay": decay} for group, decay in zip(theirs, DECAYS, strict=True)]
    if kind.startswith("sgd"):
        momentum = 0.9 if kind == "sgd" else 0.0
        golden = torch.optim.SGD(named, lr=1.0, momentum=momentum, nesterov=momentum > 0, fused=fused)
        return SGD(groups, momentum=momentum, fused=fused), golden
    golden = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[kind](named, lr=1.0, fused=fused)
    return Adam(groups, decoupled=kind == "adamw", fused=fused), golden


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "plain"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_that_of_torch_optim(kind, fused, dtype):
    generator = torch.Generator().manual_seed(0)
    start = [[torch.randn(4, 3, generator=generator, dtype=dtype) for _ in range(3)] for _ in DECAYS]
    ours, theirs = ([[p.clone().requires_grad_() for p in group] for group in start] for _ in range(2))
    update, golden = pair(kind, ours, theirs, fused=fused)
    for step in range(12):
        update.zero_grad()
        for group, others in zip(ours, theirs, strict=True):
            for index, (mine, other) in enumerate(zip(group, others, strict=True)):
                gradient = None if index == 2 else torch.randn(4, 3, generator=generator, dtype=dtype)
                mine.grad, other.grad = gradient, None if gradient is None else gradient.clone()
        for group in golden.param_groups:
            group["lr"] = 0.1 / (1 + step)
        update.step(0.1 / (1 + step))
        golden.step()
    for group, others, before in zip(ours, theirs, start, strict=True):
        for index, (mine, other, first) in enumerate(zip(group, others, before, strict=True)):
            assert torch.equal(mine, other), (kind, fused, index)
            assert torch.equal(mine, first) == (index == 2), "only what has no gradient stays"


@pytest.mark.parametrize("kind", KINDS)
def test_sparse_gradients_are_refused_as_by_torch_optim(kind):
    parameters = [[torch.ones(3, requires_grad=True)] for _ in range(2)]
    update, golden = pair(kind, parameters, parameters, fused=True)
    parameters[0][0].grad = torch.ones(3).to_sparse()
    for optimizer in (lambda: update.step(0.1), golden.step):
        with pytest.raises(RuntimeError, match="sparse"):
            optimizer()


def test_a_step_imports_no_compiler():
    code = (
        "import sys, torch; from l2tune.training.torch_update import SGD, Adam\n"
        "for make in (lambda g: SGD(g, momentum=0.9), Adam):\n"
        "    weight = torch.ones(2, requires_grad=True)\n"
        "    update = make([([weight], 0.1)])\n"
        "    weight.sum().backward(); update.step(0.1)\n"
        "assert 'torch._dynamo' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
