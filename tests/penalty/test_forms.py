"""The penalty's forms, each by its own formula. What they do in training: `tests/training/test_forms.py`."""

import typing

import pytest
import torch

from l2tune.errors import UserError
from l2tune.penalty.forms import FORMS, Form, make_form
from l2tune.settings import PenaltySettings

STRENGTHS = (0.0, 1e-7, 0.1, 2.0)
LR = 0.3


def form_of(name):
    return make_form(PenaltySettings().model_copy(update={"form": name}))


def tensors(members=None, seed=0):
    """A matrix, a kernel and a vector, of one network or of stacked ones; float64."""
    generator = torch.Generator().manual_seed(seed)
    leading = () if members is None else (members,)
    shapes = ((3, 4), (2, 3, 2, 2), (5,))
    return [torch.randn(*leading, *shape, generator=generator, dtype=torch.float64) for shape in shapes]


def acted(form, weights, gradients, strength, lr):
    """Weights and gradients after all hooks, as an engine without a decay of its own calls them."""
    weights, gradients = ([t.clone() for t in group] for group in (weights, gradients))
    with torch.no_grad():
        form.add_to_gradient(gradients, weights, strength)
        form.before_step(weights, strength, lr)
        form.after_step(weights, strength, lambda: [lr for _ in weights])
    return weights, gradients


def test_the_settings_list_the_forms_that_there_are():
    listed = typing.get_args(PenaltySettings.model_fields["form"].annotation)
    assert sorted(listed) == sorted(FORMS)
    assert PenaltySettings.model_fields["form"].default in FORMS
    for name, form in FORMS.items():
        assert form.name == name


def test_an_unknown_form_is_refused():
    with pytest.raises(UserError) as refused:
        form_of("no-such-form")
    assert str(refused.value) == f"penalty: 'no-such-form' is no form of the penalty; known are {', '.join(FORMS)}"


def test_a_form_that_does_nothing_cannot_be_written():
    with pytest.raises(TypeError, match="the form Idle does nothing: override one of loss_term, add_to_gradient"):

        class Idle(Form):
            name = "idle"


@pytest.mark.parametrize("parent", FORMS.values())
def test_a_forms_heir_is_not_taken_for_the_decay_that_torch_optim_has(parent):
    class Heir(parent):
        name = "heir"

    assert Heir.native is None


@pytest.mark.parametrize("name", FORMS)
class TestEveryForm:
    def test_stacked_weights_are_treated_as_each_networks(self, name):
        form, strengths = form_of(name), torch.tensor(STRENGTHS, dtype=torch.float64)
        weights, gradients = tensors(len(STRENGTHS)), tensors(len(STRENGTHS), seed=1)
        lr = torch.linspace(0.1, 0.4, len(STRENGTHS), dtype=torch.float64)
        weights_after, gradients_after = ([t.clone() for t in group] for group in (weights, gradients))
        with torch.no_grad():
            form.add_to_gradient(gradients_after, weights_after, strengths)
            form.before_step(weights_after, strengths, lr)
            sizes = [lr.view(-1, *[1] * (w.ndim - 1)) for w in weights_after]
            form.after_step(weights_after, strengths, lambda: sizes)
        terms = form.loss_term(weights, strengths)
        for row, strength in enumerate(STRENGTHS):
            mine, slopes = [w[row] for w in weights], [g[row] for g in gradients]
            alone = acted(form, mine, slopes, strength, float(lr[row]))
            for found, expected in zip((weights_after, gradients_after), alone, strict=True):
                for stacked, single in zip(found, expected, strict=True):
                    torch.testing.assert_close(stacked[row], single, rtol=1e-12, atol=0)
            term = form.loss_term(mine, strength)
            assert (term is None) == (terms is None)
            if term is not None:
                assert terms.shape == (len(STRENGTHS),)
                torch.testing.assert_close(terms[row], term, rtol=1e-12, atol=0)

    def test_without_strength_nothing_changes(self, name):
        weights, gradients = tensors(), tensors(seed=1)
        for found, before in zip(acted(form_of(name), weights, gradients, 0.0, LR), (weights, gradients), strict=True):
            assert all(map(torch.equal, found, before))

    def test_it_acts(self, name):
        weights, gradients = tensors(), tensors(seed=1)
        after, slopes = acted(form_of(name), weights, gradients, 0.1, LR)
        assert not all(map(torch.equal, after + slopes, weights + gradients))

    def test_what_it_adds_to_the_gradient_is_its_loss_terms_gradient(self, name):
        form, weights = form_of(name), [w.requires_grad_() for w in tensors()]
        term = form.loss_term(weights, 0.1)
        if term is None:
            return
        expected = torch.autograd.grad(term, weights)
        found = [torch.zeros_like(w) for w in weights]
        with torch.no_grad():
            form.add_to_gradient(found, weights, 0.1)
            Form.add_to_gradient(form, found, weights, 0.1)  # what a form with a loss term alone would have
        for ours, golden in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, 2 * golden, rtol=1e-12, atol=0)


def test_the_loss_term_is_lambda_times_the_sum_of_squares_without_a_half():
    weight = torch.tensor([[1.0, 2.0, -3.0], [0.5, 0.0, 4.0]], requires_grad=True)
    term = form_of("l2-loss").loss_term([weight], 0.1)
    assert term.item() == pytest.approx(0.1 * (1 + 4 + 9 + 0.25 + 16))
    term.backward()
    torch.testing.assert_close(weight.grad, 2 * 0.1 * weight.detach())


def test_coupled_decay_adds_twice_lambda_times_the_weights_to_the_gradient():
    weights, gradients = tensors(), tensors(seed=1)
    after, slopes = acted(form_of("l2"), weights, gradients, 0.1, LR)
    for old, new, weight, same in zip(gradients, slopes, weights, after, strict=True):
        torch.testing.assert_close(new, old + 2 * 0.1 * weight)
        assert torch.equal(weight, same)


def test_decoupled_decay_takes_the_learning_rate_times_twice_lambda_off_the_weights():
    weights, gradients = tensors(), tensors(seed=1)
    after, slopes = acted(form_of("l2-decoupled"), weights, gradients, 0.1, LR)
    for old, new, gradient, same in zip(weights, after, gradients, slopes, strict=True):
        torch.testing.assert_close(new, old * (1 - LR * 2 * 0.1))
        assert torch.equal(gradient, same)
