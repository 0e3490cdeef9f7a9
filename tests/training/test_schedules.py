"""Learning rates against torch.optim's schedulers: ours takes each step's value at its middle, theirs at its start."""

import math

import pytest
import torch
from torch import nn

from l2tune.errors import UserError
from l2tune.training.schedules import learning_rate

STEPS, PEAK = 40, 0.3


def ours(schedule, steps=STEPS):
    return [learning_rate(schedule, step, steps, PEAK) for step in range(steps)]


def theirs(make, halves):
    """Learning rates of a torch scheduler at the given half steps, from 0 to twice `STEPS`."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
    scheduler = make(optimizer)
    rates = []
    for _ in range(2 * STEPS + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(rates) <= 2 * STEPS:
            scheduler.step()
    return [rates[half] for half in halves]


MIDDLES = range(1, 2 * STEPS, 2)


def test_constant():
    assert ours("constant") == [PEAK] * STEPS


def test_cosine_is_torchs_at_the_middle_of_each_step():
    golden = theirs(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=2 * STEPS), MIDDLES)
    assert ours("cosine") == pytest.approx(golden, rel=1e-9)


def test_one_cycle_is_torchs_with_a_linear_rise_and_a_cosine_fall():
    def one_cycle(strategy):
        def make(optimizer):
            total = 2 * STEPS + 1  # torch's last step is total - 1, and its peak is at share * total - 1
            share = (0.3 * 2 * STEPS + 1) / total
            return torch.optim.lr_scheduler.OneCycleLR(
                optimizer,
                PEAK,
                total_steps=total,
                pct_start=share,
                anneal_strategy=strategy,
                cycle_momentum=False,
                div_factor=25,
                final_div_factor=math.inf,
            )

        return make

    rise, fall = theirs(one_cycle("linear"), MIDDLES), theirs(one_cycle("cos"), MIDDLES)
    turn = round(0.3 * STEPS)
    assert ours("one-cycle") == pytest.approx(rise[:turn] + fall[turn:], rel=1e-9)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("schedule", ["one-cycle", "cosine", "constant"])
def test_no_step_is_wasted(schedule, steps):
    assert all(0 < rate <= PEAK for rate in ours(schedule, steps))


def test_one_cycle_rises_once_and_falls_once():
    rates = ours("one-cycle", 1000)
    top = rates.index(max(rates))
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[0] == pytest.approx(PEAK / 25, rel=0.1)
    assert max(rates) == pytest.approx(PEAK, rel=1e-3)
    assert rates[-1] < 1e-5 * PEAK


def test_training_takes_the_schedule_over_all_its_epochs(small):
    """With plain SGD and a constant data loss, weights shrink by 1 − lr·2λ at each step: the rates can be read off."""

    class WithoutLoss(nn.Linear):
        def forward(self, x):
            return super().forward(x.flatten(1)) * 0

    built = []

    def factory(shape, classes):
        built.append(WithoutLoss(math.prod(shape), classes))
        return built[-1]

    trainer = small.trainer(factory, epochs=3, lr=0.1, momentum=0.0, schedule="one-cycle", dtype=torch.float64)
    built.clear()
    strength = 0.5
    norms = [built[0].weight.norm().item() for _ in trainer.start([small.member(strength)])]
    steps = 3 * 4  # 32 images by 8
    shrunk = [1 - learning_rate("one-cycle", step, steps, 0.1) * 2 * strength for step in range(steps)]
    ratios = [norms[1] / norms[0], norms[2] / norms[1]]
    assert ratios == pytest.approx([math.prod(shrunk[4:8]), math.prod(shrunk[8:])], rel=1e-12)


def test_an_unknown_schedule_is_refused():
    with pytest.raises(UserError) as refused:
        learning_rate("exponential", 0, STEPS, PEAK)
    assert str(refused.value) == "schedule: 'exponential' is no schedule; known are one-cycle, cosine, constant"
