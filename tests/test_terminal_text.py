"""Text for terminals of any encoding."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2tune.terminal_text import one_line, printable, readable, steering_sign, write_readably

ENCODINGS = ("ascii", "cp1252", "latin-1", "cp437", "utf-8", "shift_jis", "no-such", None)


@pytest.mark.parametrize(
    ("text", "encoding", "shown"),
    [
        ("λ 1.00e-3 · λs, λ_1se", "ascii", "lambda 1.00e-3 - lambdas, lambda_1se"),
        ("2λw and λΣw² – ‖w‖", "ascii", "2 lambda w and lambda sum w^2 - ||w||"),
        ("λ · é", "cp1252", "lambda · é"),
        ("λ é 名", "ascii", "lambda \\xe9 \\u540d"),
        ("λ é 名", "utf-8", "λ é 名"),
        ("λ", "no-such", "lambda"),
        ("\udcff", "utf-8", "\\udcff"),
    ],
)
def test_signs_that_an_encoding_lacks_are_written_in_ascii(text: str, encoding: str, shown: str) -> None:
    assert readable(text, encoding) == shown


@given(st.text(st.characters(exclude_categories=())), st.sampled_from(ENCODINGS))
def test_any_text_can_be_shown_on_any_terminal(text: str, encoding: str | None) -> None:
    shown = readable(one_line(text), encoding)
    assert shown.encode("ascii" if encoding in (None, "no-such") else encoding) is not None
    assert not steering_sign(one_line(text))
    assert len(one_line(text).splitlines()) <= 1


def test_signs_that_steer_a_terminal_are_written_out() -> None:
    text = "a\x1b[31mb\x07\u202ec\u2028d\udcff\x9b\n"
    assert printable(text) == "a\\x1b[31mb\\x07\\u202ec\\u2028d\\udcff\\x9b\n"
    assert printable("שלום, می\u200cروم") == "שלום, می\u200cروم", "languages written from right to left are no signs"


def test_streams_write_it_whoever_prints() -> None:
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=name, errors="strict") for name in ("ascii", "cp1252")]
    write_readably(*streams, None, io.StringIO())
    for stream in streams:
        print("λ ·", file=stream, flush=True)
    assert [stream.buffer.getvalue() for stream in streams] == [b"lambda -\n", b"lambda \xb7\n"]  # type: ignore[attr-defined]
    streams[0].close()
    write_readably(streams[0])
