"""The precision of CUDA's products is the study's while it trains, and a user's before and after."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from l2tune.training.arithmetic import cuda_arithmetic

MATMUL, CUDNN = torch.backends.cuda.matmul, torch.backends.cudnn
STUDYS = ("ieee", "ieee", "ieee", False, False)


def settings() -> tuple[Any, ...]:
    return (
        MATMUL.fp32_precision,
        CUDNN.conv.fp32_precision,
        CUDNN.rnn.fp32_precision,
        MATMUL.allow_bf16_reduced_precision_reduction,
        MATMUL.allow_fp16_reduced_precision_reduction,
    )


def put(of: tuple[Any, ...]) -> None:
    MATMUL.fp32_precision, CUDNN.conv.fp32_precision, CUDNN.rnn.fp32_precision = of[:3]
    MATMUL.allow_bf16_reduced_precision_reduction, MATMUL.allow_fp16_reduced_precision_reduction = of[3:]


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before, old = settings(), (torch.get_float32_matmul_precision(), CUDNN.allow_tf32)
    yield
    torch.set_float32_matmul_precision(old[0])
    CUDNN.allow_tf32 = old[1]
    put(before)


def test_float32_is_float32_inside_and_what_a_user_had_set_holds_again_outside() -> None:
    torch.set_float32_matmul_precision("high")
    before = settings()
    assert before[0] == "tf32"
    with cuda_arithmetic():
        assert settings() == STUDYS
        assert torch.get_float32_matmul_precision() == "highest"
    assert settings() == before
    assert torch.get_float32_matmul_precision() == "high"


def test_old_and_new_names_mixed_by_a_user_are_put_back() -> None:
    torch.set_float32_matmul_precision("high")
    MATMUL.fp32_precision = "ieee"
    CUDNN.allow_tf32 = False
    CUDNN.conv.fp32_precision = "tf32"
    before = settings()
    with cuda_arithmetic():
        assert settings() == STUDYS
    assert settings() == before


def test_it_holds_until_the_last_of_several_threads_has_left() -> None:
    before, inside, left = settings(), threading.Event(), threading.Event()

    def other() -> None:
        with cuda_arithmetic():
            inside.set()
            left.wait(10)

    thread = threading.Thread(target=other)
    with cuda_arithmetic():
        thread.start()
        assert inside.wait(10)
    assert settings() == STUDYS
    left.set()
    thread.join()
    assert settings() == before
