"""Text that any terminal can show: no signs that steer it, none that its encoding lacks. Standard library only."""

from __future__ import annotations

import codecs
import unicodedata
from typing import TextIO

_SIGNS = (
    {"λ": "lambda", "Σ": "sum", "∇": "grad", "ρ": "rho", "√": "sqrt"}
    | {"≈": "~", "≤": "<=", "≥": ">=", "→": "->", "←": "<-", "−": "-", "±": "+-", "×": "x", "‖": "||", "²": "^2"}
    | {"½": "1/2", "…": "...", "–": "-", "—": "-", "·": "-", "•": "*", "●": "*", "ö": "oe", "\xa0": " "}
    | dict.fromkeys("‘’", "'")
    | dict.fromkeys("“”", '"')
    | dict.fromkeys("─━╸╺", "-")
    | dict.fromkeys("│┃", "|")
    | dict.fromkeys("╭╮╰╯┌┐└┘├┤┬┴┼", "+")
)
_WORDS = {sign for sign, text in _SIGNS.items() if text.isalpha() and len(text) > 2}
_JOINERS = "\u200c\u200d"  # Persian words and some emoji need them
_HANDLER = "l2tune.readable"


def readable(text: str, encoding: str | None) -> str:
    """The text as a terminal of this encoding can show it: `lambda` where it has no λ, `\\xe9` for other letters."""
    try:
        name = codecs.lookup(encoding or "ascii").name
    except LookupError:
        name = "ascii"
    return text.encode(name, _HANDLER).decode(name)


def write_readably(*streams: TextIO | None) -> None:
    """Make these streams write what their encoding lacks as `readable` does, whoever writes to them."""
    for stream in streams:
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None and not getattr(stream, "closed", False):
            reconfigure(errors=_HANDLER)


def printable(text: str) -> str:
    """The text with signs that steer a terminal written out (`\\x1b`); lines stay lines.

    Control characters, those that turn the direction of writing, and halves of characters are such signs.
    """
    return "".join(_escape(sign) if _steers(sign) and sign != "\n" else sign for sign in text)


def one_line(text: str) -> str:
    """The text on one line, printable."""
    return printable(" ".join(text.split()))


def steering_sign(text: str) -> str:
    """The first sign that steers a terminal, written out; empty if there is none."""
    return next((_escape(sign) for sign in text if _steers(sign)), "")


def _steers(sign: str) -> bool:
    return unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp") and sign not in _JOINERS


def _escape(sign: str) -> str:
    return sign.encode("ascii", "backslashreplace").decode() if not sign.isascii() else f"\\x{ord(sign):02x}"


def _replace(error: UnicodeError) -> tuple[str, int]:
    """Codec error handler: the signs that an encoding lacks in ASCII, words set apart from what stands around them."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text, parts = error.object, []
    for place in range(error.start, error.end):
        sign = text[place]
        part = _SIGNS.get(sign) or _escape(sign)
        if sign in _WORDS:
            before, after = text[place - 1 : place] if place else "", text[place + 1 : place + 2]
            plural = after == "s" and not text[place + 2 : place + 3].isalpha()
            part = (" " if before.isalnum() and before not in _WORDS else "") + part
            part += " " if after.isalpha() and not plural else ""
        parts.append(part)
    return "".join(parts), error.end


codecs.register_error(_HANDLER, _replace)
