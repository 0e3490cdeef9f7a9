"""The programs in docs/examples/ run as they stand there, against the real libraries."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "docs/examples"
FILES = sorted(EXAMPLES.glob("*.py"))


def run(code: str | Path, folder: Path) -> str:
    words = ["-c", code] if isinstance(code, str) else [str(code)]
    offline = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=os.environ | offline, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_runs_as_it_stands(path: Path, tmp_path: Path) -> None:
    verdict, *_, scores = run(path, tmp_path).splitlines()
    assert "λ" in verdict
    assert "'test_" in scores, "the final network was scored"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_has_five_lines_of_l2tune_at_most(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").split('"""', 2)[2].splitlines()
    assert sum("l2tune" in line or "tradeoff" in line for line in lines) <= 5


def test_every_example_is_shown() -> None:
    text = (EXAMPLES.parent / "how-to/own-loop.md").read_text(encoding="utf-8")
    assert [path.name for path in FILES if f"{{literalinclude}} ../examples/{path.name}\n" not in text] == []


KERAS = """
import os
os.environ["KERAS_BACKEND"] = "torch"
import keras, numpy as np
layer = keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.5))
model = keras.Sequential([keras.Input((4,)), layer])
own = keras.metrics.SparseCategoricalCrossentropy("own", from_logits=True)
model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=[own])
x, y = np.ones((8, 4), "float32"), np.zeros(8, "int32")
history = model.fit(x, y, validation_data=(x, y), epochs=1, verbose=0).history
penalty = 0.5 * float((layer.get_weights()[0] ** 2).sum())
print(history["val_loss"][0] - history["val_own"][0], penalty)
"""


def test_the_loss_of_keras_contains_the_penalty_as_the_example_says(tmp_path: Path) -> None:
    """Should that change, the example warns of what is no more."""
    more, penalty = map(float, run(KERAS, tmp_path).split())
    assert penalty > 0.1
    assert more == pytest.approx(penalty, rel=1e-4)
