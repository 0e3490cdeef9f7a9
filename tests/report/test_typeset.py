"""Sentences as LaTeX and Markdown: what a user's names hold never means anything there."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2tune.report.typeset import latex, markdown


@pytest.mark.parametrize(
    ("plain", "tex", "md"),
    [
        ("λ = 3.16e-3", r"$\lambda = 3.16\times10^{-3}$", "λ = 3.16 × 10⁻³"),
        ("1e-06 to -0.004", r"$1\times10^{-6}$ to $-$0.004", "1 × 10⁻⁶ to −0.004"),
        ("λ_best and λ_1se", r"$\lambda_{\mathrm{best}}$ and $\lambda_{\mathrm{1se}}$", "λ_best and λ_1se"),
        ("λ Σ |w|, ± 95 %", r"$\lambda$ $\sum$ $|$w$|$, $\pm$ 95\,\%", r"λ Σ \|w\|, ± 95 %"),
        ("f1_macro & 5% #1 a$b", r"f1\_macro \& 5\% \#1 a\$b", r"f1_macro & 5% #1 a\$b"),
        (r"\input{x} ^ ~", r"\textbackslash{}input\{x\} \textasciicircum{} \textasciitilde{}", r"\\input{x} ^ \~"),
        ("net1e-3x v2.5e3.1", "net1e-3x v2.5e3.1", "net1e-3x v2.5e3.1"),
        ("Σα, ΑΩ ώ", r"$\Sigma$$\alpha$, $\mathrm{A}$$\Omega$ $\omega$", "Σα, ΑΩ ώ"),
        ("Größe 日本", "Größe U+65E5U+672C", "Größe 日本"),
        ("p < 0.001", "p $<$ 0.001", "p < 0.001"),
        ("a\n\x1b[31m", r"a \textbackslash{}x1b[31m", r"a \\x1b\[31m"),
    ],
)
def test_signs(plain: str, tex: str, md: str) -> None:
    assert latex(plain) == tex
    assert markdown(plain) == md


@given(st.text())
def test_latex_is_balanced_and_ends_in_text(text: str) -> None:
    found = latex(text)
    bare = re.sub(r"\\[\\#$%&_{}]", "", found)
    assert bare.count("$") % 2 == 0
    assert bare.count("{") == bare.count("}")
    outside = re.sub(r"\$[^$]*\$", "", bare)
    assert not re.search(r"[#%&_^~|<>\"]", outside.replace("~", "") if "\xa0" in text else outside)
    assert "\n" not in found
    commands = set(re.findall(r"\\[a-zA-Z]+", found))
    assert not commands & {r"\input", r"\write", r"\def", r"\include", r"\catcode"}
