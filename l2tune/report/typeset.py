"""Plain sentences of a report, typeset for a paper: LaTeX and Markdown.

Names in them come from users, so every sign that means something to either is escaped.
"""

from __future__ import annotations

import re
import unicodedata

from l2tune.report.labels import for_markdown
from l2tune.terminal_text import one_line

_NUMBER = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)e(-?)0*(\d+)(?![\w.]*\w)")
"""`3.16e-3`, but nothing within a name."""

_MINUS = re.compile(r"(?<![\w\-])-(?=\d)")
_PERCENT = re.compile(r"(?<=\d) %")
_CHOSEN = re.compile(r"λ_(best|1se)(?!\w)")
_MATH = re.compile("|".join([*(part.pattern for part in (_CHOSEN, _NUMBER, _MINUS, _PERCENT)), "(?<= )Σ(?= )"]))
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_LATEX = {
    **{sign: f"\\{sign}" for sign in "#$%&_{}"},
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", '"': "''",
    "<": "$<$", ">": "$>$", "|": "$|$", "'": "'", "`": r"\textasciigrave{}",
    "−": "$-$", "±": r"$\pm$", "×": r"$\times$", "·": r"$\cdot$", "→": r"$\rightarrow$", "←": r"$\leftarrow$",
    "≈": r"$\approx$", "≤": r"$\leq$", "≥": r"$\geq$", "∞": r"$\infty$", "½": r"$\frac{1}{2}$", "‖": r"$\|$",
    "²": "$^2$", "³": "$^3$", "°": r"$^\circ$", "√": r"$\sqrt{}$", "∇": r"$\nabla$", "∂": r"$\partial$",
    "–": "--", "—": "---", "…": r"\dots{}", "‘": "`", "’": "'", "“": "``", "”": "''", "€": r"\texteuro{}",
    "\xa0": "~", "µ": r"$\mu$", "•": r"\textbullet{}", "§": r"\S{}",
}  # fmt: skip
"""What LaTeX has its own signs for, in any engine and font encoding."""

_LATIN = {"LAMDA": "lambda", "FINAL SIGMA": "varsigma"}
_LIKE_LATIN = {
    "ALPHA": "A", "BETA": "B", "EPSILON": "E", "ZETA": "Z", "ETA": "H", "IOTA": "I", "KAPPA": "K", "MU": "M",
    "NU": "N", "OMICRON": "O", "RHO": "P", "TAU": "T", "CHI": "X",
}  # fmt: skip
_LAST, _LACKING = "\u017e", frozenset("ÐÞðþĄąĐđĘęĦħĮįĸĿŀŉŊŋŦŧŲų")
"""The Latin letters with accents that any LaTeX sets end here, but for those that its oldest font encoding lacks."""


def latex(text: str) -> str:
    """A sentence as LaTeX: numbers, λ and Greek letters in math mode, all else escaped; any engine sets it.

    >>> latex("λ = 3.16e-3 (95 % of f1_macro)")
    '$\\\\lambda = 3.16\\\\times10^{-3}$ (95\\\\,\\\\% of f1\\\\_macro)'

    A sign that plain LaTeX does not know is written as its number, `U+65E5`.
    """
    parts, at = [], 0
    text = one_line(text)
    for found in re.finditer(
        rf"{_CHOSEN.pattern}|{_NUMBER.pattern}|{_MINUS.pattern}|{_PERCENT.pattern}|(?<= )Σ(?= )", text
    ):
        parts.append("".join(map(_latex_sign, text[at : found.start()])))
        at = found.end()
        chosen, digits, sign, power = found.groups()
        if chosen:
            parts.append(rf"$\lambda_{{\mathrm{{{chosen}}}}}$")
        elif digits:
            parts.append(rf"${digits}\times10^{{{sign}{power}}}$")
        else:
            parts.append({"-": "$-$", " %": r"\,\%"}.get(found[0], r"$\sum$"))
    parts.append("".join(map(_latex_sign, text[at:])))
    return re.sub(r"(?<!\\)\$ = \$", " = ", "".join(parts))


def markdown(text: str) -> str:
    """A sentence as Markdown: powers of ten as people write them, no markup, HTML, formulas or links in names.

    >>> markdown("λ = 3.16e-3 of f1*")
    'λ = 3.16 × 10⁻³ of f1\\\\*'
    """
    text = _NUMBER.sub(lambda n: f"{n[1]} × 10{(n[2] + n[3]).translate(_SUPERSCRIPT)}", one_line(text))
    return for_markdown(_MINUS.sub("−", text))


def _latex_sign(sign: str) -> str:
    if sign.isascii() or sign in _LATEX:
        return _LATEX.get(sign, sign)
    name = unicodedata.name(sign, "")
    if name.startswith("GREEK"):
        return _greek(sign)
    if name.startswith("LATIN") and sign <= _LAST and sign not in _LACKING:
        return sign
    return f"U+{ord(sign):04X}"


def _greek(sign: str) -> str:
    """As math; an accent is left out."""
    letter = unicodedata.normalize("NFD", sign)[0]
    case, _, name = unicodedata.name(letter, "").removeprefix("GREEK ").partition(" LETTER ")
    if case == "CAPITAL" and name in _LIKE_LATIN:
        return f"$\\mathrm{{{_LIKE_LATIN[name]}}}$"
    if name == "OMICRON":
        return "$o$"
    command = _LATIN.get(name, name.lower())
    if case not in ("SMALL", "CAPITAL") or command not in _COMMANDS:
        return f"U+{ord(sign):04X}"
    return f"$\\{command.capitalize() if case == 'CAPITAL' else command}$"


_COMMANDS = frozenset(
    (
        *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu"),
        *("xi", "pi", "rho", "sigma", "varsigma", "tau", "upsilon", "phi", "chi", "psi", "omega"),
    )
)
