"""The code that trains with the λ that was found exactly as the search did, to be pasted into a user's own script."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from l2tune.records.tables import StudyRecord
from l2tune.settings import DEFAULT_L1_RATIO, DEFAULT_LR


@dataclass(frozen=True)
class Listing:
    """Code in two parts.

    Attributes:
        setup: Once, where `model` is known; makes `optimizer`.
        before_step: In every step after `loss.backward()`, before `optimizer.step()`.
        after_step: In every step after `optimizer.step()`, before any `scheduler.step()`.
    """

    setup: str
    before_step: str = ""
    after_step: str = ""

    @property
    def text(self) -> str:
        """All of it, with comments that say where it goes."""
        parts = [self.setup]
        parts += [f"# in every step, before optimizer.step():\n{self.before_step}"] if self.before_step else []
        parts += [f"# in every step, after optimizer.step():\n{self.after_step}"] if self.after_step else []
        return "\n".join(parts)


@dataclass(frozen=True)
class CodeToPaste:
    """How to train with a λ.

    Attributes:
        note: When a plain call of torch.optim is the same, and when not: a sentence.
        with_import: With l2tune.
        plain: In plain PyTorch; None where which parameters λ acts on was not stored, or takes too many names.
    """

    note: str
    with_import: Listing
    plain: Listing | None


def code_to_paste(record: StudyRecord, strength: float) -> CodeToPaste | None:
    """The code for a λ of a study; None where l2tune did not train, or λ = 0."""
    if record.trained_by != "l2tune" or not strength > 0:
        return None
    return _Writer(record, strength).code()


@dataclass(frozen=True, eq=False)
class _Writer:
    record: StudyRecord
    strength: float

    def code(self) -> CodeToPaste:
        if self.record.decays:
            note, plain = self._note(), self._plain_decay()
            return CodeToPaste(note, self._decay_with_import(), plain)
        note = (
            "This penalty is no weight decay of torch.optim: it acts after each step, and makes weights exactly zero."
        )
        return CodeToPaste(note, self._proximal_with_import(), self._plain_proximal())

    @property
    def _settings(self) -> Mapping[str, Any]:
        return self.record.settings

    @property
    def _form(self) -> str:
        return self.record.form

    @property
    def _by_hand(self) -> bool:
        """Whether torch.optim has no such decay: SGD has no decoupled one."""
        return self._form == "l2-decoupled" and self._settings.get("optimizer", "sgd") == "sgd"

    @property
    def _momentum(self) -> float:
        return float(self._settings.get("momentum", 0.9))

    @property
    def _l1_ratio(self) -> float:
        return 1.0 if self._form == "l1" else float(self._settings.get("l1_ratio") or DEFAULT_L1_RATIO)

    @property
    def _scale(self) -> Mapping[str, float]:
        return dict(self._settings.get("scale") or {})

    def _optimizer(self, what: str, decay: str = "") -> str:
        """`optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)`."""
        name = self._settings.get("optimizer", "sgd")
        lr = self._settings.get("lr") or DEFAULT_LR.get(str(name), 1e-3)
        arguments = [what, f"lr={lr!r}"]
        if name == "sgd":
            arguments += [f"momentum={self._momentum!r}", "nesterov=True"] if self._momentum else []
        kind = "SGD" if name == "sgd" else "AdamW" if self._form == "l2-decoupled" else "Adam"
        return f"optimizer = torch.optim.{kind}({', '.join([*arguments, *([decay] if decay else [])])})"

    def _note(self) -> str:
        plain = self._optimizer("model.parameters()", f"weight_decay={_number(2 * self.strength)}")
        plain = plain.removeprefix("optimizer = ").partition("(")[0] + "(model.parameters(), weight_decay=…)"
        if self._by_hand:
            return "torch.optim.SGD has no decoupled weight decay: its own goes through momentum."
        if self._everything:
            return f"λ acts on every parameter alike, so the plain call {plain} is the same."
        return (
            f"The plain call {plain} is not the same: it also decays what the search did not, such as biases and "
            "normalization."
        )

    @property
    def _everything(self) -> bool:
        return bool(dict(self.record.trainer.get("regularization") or {}).get("everything"))

    def _arguments(self) -> str:
        """What a call of l2tune's takes beside model and λ."""
        regularize = self._settings.get("regularize", "weights")
        found = "" if regularize == "weights" else f", regularize={_literal(regularize)}"
        return found + (f", scale={self._scale!r}" if self._scale else "")

    def _decay_with_import(self) -> Listing:
        call = f"l2tune.parameter_groups(model, {_number(self.strength)}{self._arguments()})"
        lines = ["import l2tune", f"groups = {call}"]
        if not self._by_hand:
            return Listing("\n".join([*lines, self._optimizer("groups")]))
        lines.append('decays = [(p, group["weight_decay"]) for group in groups for p in group["params"]]')
        return Listing("\n".join([*lines, self._optimizer("model.parameters()")]), _SHRINK)

    def _plain_decay(self) -> Listing | None:
        decay = _number(2 * self.strength)
        if self._everything and not self._by_hand:
            return Listing(self._optimizer("model.parameters()", f"weight_decay={decay}"))
        condition = self._condition()
        if condition is None:
            return None
        if self._scale or self._by_hand:
            lines = self._multipliers(condition)
            if self._by_hand:
                lines.append(f"decays = [(p, {decay} * multiplier(n, p)) for n, p in model.named_parameters()]")
                return Listing("\n".join([*lines, self._optimizer("model.parameters()")]), _SHRINK)
            each = f'{{"params": [p], "weight_decay": {decay} * multiplier(n, p)}}'
            lines.append(f"groups = [{each} for n, p in model.named_parameters()]")
            return Listing("\n".join([*lines, self._optimizer("groups")]))
        lines = [
            *self._weights(condition),
            f"rest = [p for n, p in model.named_parameters() if not ({condition})]",
            f'groups = [{{"params": weights, "weight_decay": {decay}}}, {{"params": rest, "weight_decay": 0.0}}]',
            self._optimizer("groups"),
        ]
        return Listing("\n".join(lines))

    def _proximal_with_import(self) -> Listing:
        ratio = "" if self._l1_ratio == 1 else f", l1_ratio={self._l1_ratio!r}"
        step = f"l2tune.proximal_step(optimizer, model, {_number(self.strength)}{ratio}{self._arguments()})"
        return Listing("\n".join(["import l2tune", self._optimizer("model.parameters()")]), after_step=step)

    def _plain_proximal(self) -> Listing | None:
        condition = self._condition()
        if condition is None:
            return None
        ratio, each = self._l1_ratio, "p in weights"
        lines, strength = self._weights(condition), _number(self.strength)
        if self._scale:
            lines = self._multipliers(condition)
            lines.append(f"weights = [(p, {strength} * multiplier(n, p)) for n, p in model.named_parameters()]")
            each, strength = "p, strength in weights", "strength"
        lines.append(self._optimizer("model.parameters()"))
        lr = 'optimizer.param_groups[0]["lr"]'
        step = []
        if self._settings.get("optimizer", "sgd") == "sgd":
            lines.append("steps = 0")
            step = ["steps += 1"]
            mu = self._momentum
            size = f"{lr} * (1 - {mu!r} ** (steps + 1)) / (1 - {mu!r})" if mu else lr
        else:
            state = "optimizer.state[p]"
            mean = f'({state}["exp_avg_sq"] / (1 - 0.999 ** float({state}["step"])))'
            size = f"{lr} / ({mean}.sqrt() + 1e-8)"
        step += [
            "with torch.no_grad():",
            f"    for {each}:",
            "        if p.grad is not None:",
            f"            size = {size}",
            f"            t = {'' if ratio == 1 else f'{ratio!r} * '}size * {strength}",
            "            p.sub_(torch.clamp(p, -t, t))  # towards zero by t, and no further",
        ]
        if ratio < 1:
            step.append(f"            p.div_(1 + 2 * (1 - {ratio!r}) * size * {strength})")
        return Listing("\n".join(lines), after_step="\n".join(step))

    def _weights(self, condition: str) -> list[str]:
        """Lines that define `weights`, those that λ acts on."""
        return [*self._imports(condition), f"weights = [p for n, p in model.named_parameters() if {condition}]"]

    def _multipliers(self, condition: str) -> list[str]:
        """Lines that define `multiplier(name, parameter)`."""
        lines = [*self._imports(condition)]
        if not self._scale:
            return [*lines, "def multiplier(n, p):", f"    return float({condition})"]
        found = "next((by for pattern, by in reversed(scale.items()) if fnmatchcase(n, pattern)), 1.0)"
        lines += [f"scale = {self._scale!r}  # the last that matches counts", "def multiplier(n, p):"]
        return [*lines, f"    return {found} if {condition} else 0.0"]

    def _imports(self, condition: str) -> list[str]:
        return ["from fnmatch import fnmatchcase"] if self._scale or "fnmatchcase" in condition else []

    def _condition(self) -> str | None:
        """Whether λ acts on a parameter `p` called `n`, in Python; multipliers of 0 not counted."""
        regularize = self._settings.get("regularize", "weights")
        if regularize == "all":
            return "p.requires_grad"
        if regularize != "weights":
            return f"p.requires_grad and any(fnmatchcase(n, pattern) for pattern in {_literal(regularize)})"
        exceptions = dict(self.record.trainer.get("regularization") or {}).get("exceptions")
        if exceptions is None:
            return None
        left_out, taken = tuple(exceptions["left_out"]), tuple(exceptions["taken"])
        found = "p.ndim > 1" + (f" and not n.endswith({left_out!r})" if left_out else "")
        return f"({found}) or n.endswith({taken!r})" if taken else found


_SHRINK = """with torch.no_grad():
    for p, decay in decays:
        p.mul_(1 - optimizer.param_groups[0]["lr"] * decay)"""


def _number(value: float) -> str:
    """In six digits: more than matter, and few enough to read."""
    return f"{value:.6g}"


def _literal(regularize: Any) -> str:
    return repr(regularize) if isinstance(regularize, str) else repr(tuple(regularize))
