"""Outcomes as tables: one row per recording and strategy, among those measured before, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from outcome import STRENGTHS, Outcome
from recording import FOLDS
from strategies import STRATEGIES

COSTS = (10, 15, 20, 25, 30, 40, 50, 75)


def summarize(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """One row per recording and strategy."""
    rows = []
    for (name, strategy), group in _grouped(outcomes).items():
        gains = np.array([o.gains[-1] for o in group])
        regrets = np.array([o.regret for o in group])
        row: dict[str, Any] = {
            "recording": name,
            "strategy": strategy,
            "seeds": len(group),
            "settled": float(np.median([o.settled or o.costs[-1] for o in group])),
            "fits": float(np.median([o.costs[-1] for o in group])),
            "most fits": max(o.costs[-1] for o in group),
            "share of grid": float(np.mean([o.costs[-1] for o in group])) / (FOLDS * STRENGTHS),
            "gain": gains.mean(),
            "gain 5%": np.quantile(gains, 0.05),
            "test gain": float(np.mean([o.test_gain for o in group])),
            "regret": regrets.mean(),
            "worst regret": regrets.max(),
            "within 1 se": float((regrets <= 1).mean()),
            "pruned best": float(np.mean([o.pruned_best for o in group])),
            "coverage": float(np.mean([o.covered for o in group])) if group[0].covered is not None else np.nan,
            "seconds": float(np.median([o.seconds for o in group])),
        }
        for cost in COSTS:
            row[f"gain at {cost}"] = float(np.mean([o.gain_at(cost) for o in group]))
        rows.append(row)
    return pd.DataFrame(rows)


def _grouped(outcomes: Sequence[Outcome]) -> dict[tuple[str, str], list[Outcome]]:
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault((outcome.recording, outcome.strategy), []).append(outcome)
    return groups


def updated(table: pd.DataFrame, about: dict[str, Any], before: dict[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The rows measured now among those of results measured before, in the same order, and when each was measured."""
    old = pd.DataFrame(before["table"])
    rows = pd.concat([table, old[~old["strategy"].isin(set(table["strategy"]))]], ignore_index=True)
    names, order = old["recording"].unique().tolist(), list(STRATEGIES)
    place = [
        (names.index(r) if r in names else len(names), order.index(s))
        for r, s in zip(rows["recording"], rows["strategy"], strict=True)
    ]
    rows = rows.iloc[sorted(range(len(rows)), key=place.__getitem__)].reset_index(drop=True)
    measured = before.get("measured") or dict.fromkeys(old["strategy"].unique().tolist(), before["date"])
    return rows, about | {"measured": measured | about["measured"]}


def most_seeds(table: pd.DataFrame) -> int:
    """Seeds of most rows."""
    return int(table["seeds"].mode().iloc[0])


def kept(rows: list[dict[str, Any]], old: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """Rows measured now, and the old ones of which none has the key."""
    known = {row[key] for row in rows}
    return rows + [row for row in old if row[key] not in known]


def heading(table: pd.DataFrame, about: dict[str, Any]) -> str:
    """What the tables hold, when it was measured and over how many seeds."""
    seeds, date = most_seeds(table), about["date"]
    lines = [f"# Search strategies, validation {about['metric']}, {seeds} seeds each, {date}", ""]
    for number, rows in table[table["seeds"] != seeds].groupby("seeds"):
        lines += [f"{number} seeds only: {'; '.join(rows['strategy'].unique())}.", ""]
    earlier = {day for day in about["measured"].values() if day != date}
    if earlier:
        now = sorted(name for name, day in about["measured"].items() if day == date)
        others = ", ".join(sorted(earlier))
        lines += [f"Measured on {date}: {', '.join(now)}; the others on {others}.", ""]
    return "\n".join([*lines, ""])


def markdown(table: pd.DataFrame) -> str:
    """The table, one section per recording."""
    lines = []
    for name, rows in table.groupby("recording", sort=False):
        lines += [f"## {name}", "", rows_as_markdown(rows.drop(columns=["recording", "seeds"])), ""]
    return "\n".join(lines)


def rows_as_markdown(rows: pd.DataFrame) -> str:
    """A table."""
    lines = ["| " + " | ".join(rows.columns) + " |", "|---" * len(rows.columns) + "|"]
    lines += ["| " + " | ".join(_cell(c, row[c]) for c in rows.columns) + " |" for _, row in rows.iterrows()]
    return "\n".join(lines)


def _cell(column: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if np.isnan(value):
        return ""
    return f"{value:.1f}" if column in ("settled", "fits", "most fits", "seconds") else f"{value:.2f}"


def without_nan(value: Any) -> Any:
    """As JSON has it: null for what is not a number."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
