"""Where the workers of one machine train."""

from pathlib import Path

import pytest
import torch

from l2tune.search import placement
from l2tune.search.placement import places, usable_cores


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight cores, no GPU."""
    monkeypatch.setattr(placement, "usable_cores", lambda: 8)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_the_cores_are_divided() -> None:
    assert [place["OMP_NUM_THREADS"] for place in places(3, "auto")] == ["2"] * 3
    assert [place["OMP_NUM_THREADS"] for place in places(20, "cpu")] == ["1"] * 20
    assert len(places(None, "auto")) == min(8, placement.AUTO_LIMIT)


def test_each_gpu_has_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert [place["CUDA_VISIBLE_DEVICES"] for place in places(None, "auto")] == ["0", "1", "2"]
    assert [place["CUDA_VISIBLE_DEVICES"] for place in places(4, "cuda")] == ["0", "1", "2", "0"]
    assert "CUDA_VISIBLE_DEVICES" not in places(2, "cpu")[0]
    assert "CUDA_VISIBLE_DEVICES" not in places(2, "cuda:1")[0], "all on the card that was named"


def test_of_the_gpus_only_those_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-8d1f")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [place["CUDA_VISIBLE_DEVICES"] for place in places(None, "auto")] == ["5", "GPU-8d1f"]


@pytest.mark.parametrize(("quota", "cores"), [("max 100000", 4), ("250000 100000", 2), ("50000 100000", 1), ("?", 4)])
def test_a_containers_quota_counts(monkeypatch: pytest.MonkeyPatch, quota: str, cores: int) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(4)), raising=False)
    monkeypatch.setattr(Path, "read_text", lambda self: quota)
    assert usable_cores() == cores
