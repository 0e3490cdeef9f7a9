"""What of a storage URL may be shown, and how a password that somebody typed is kept out of it."""

from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from l2tune.storage_url import hide_password, is_ambiguous, shown_settings, without_password, without_passwords

ANY = st.text(st.characters(exclude_categories=()), min_size=1)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+psycopg2://bob:pw@db:5432/l2", "postgresql+psycopg2://bob@db:5432/l2"),
        ("postgresql://bob:p@s:s/w?r&d@db/l2?sslmode=require", "postgresql://bob@db/l2?sslmode=require"),
        ("postgresql://bob@corp:pw@db/l2", "postgresql://bob@corp@db/l2"),
        ("mysql://:pw@db", "mysql://db"),
        ("mysql://db/l2?user=bob&passwd=pw&ssl=1", "mysql://db/l2?user=bob&ssl=1"),
        ("mysql://db/l2?PassWord=pw", "mysql://db/l2"),
        ("mysql://db/l2?p%61ssword=pw", "mysql://db/l2"),
        ("mssql+pyodbc:///?odbc_connect=DSN%3Dx%3BPWD%3Dpw", "mssql+pyodbc:///"),
        ("postgresql://db:5432/l2?user=bob@corp&password=pw", "postgresql://db@corp"),
        ("postgresql://bob:pw/l2", "postgresql://bob/l2"),
        ("postgresql:/bob:pw@db/l2", "postgresql@db/l2"),
        ("postgresql//bob:pw@db/l2", "postgresql//bob@db/l2"),
        ("bob:pw@db/l2", "bob@db/l2"),
        ("sqlite+pysqlcipher://:pw@/s.db", "sqlite+pysqlcipher:///s.db"),
        ("sqlite:///s.db?password=pw&timeout=3", "sqlite:///s.db?timeout=3"),
    ],
)
def test_no_password_is_left(url: str, shown: str) -> None:
    assert without_password(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        *("sqlite:///l2tune.db", "sqlite:////data/a@b:c.db", "sqlite:///C:/a@b.db", "sqlite://", "sqlite:///:memory:"),
        *("study.log", "a/b@c.log", "C:\\data\\a@b.db", "results:v2.log", ""),
        *("postgresql://bob@db:5432/l2?sslmode=require", "postgresql://[::1]:5432/l2", "mysql://db/l2?passfile=/x"),
    ],
)
def test_what_holds_no_password_stays_as_it_is(url: str) -> None:
    assert without_password(url) == url


@given(ANY)
@example("p@h/d?x=b")
@example("a&password=b")
def test_any_password_is_hidden_whole(password: str) -> None:
    for typed in (password, quote(password, safe="", errors="surrogatepass")):
        assert without_password(f"postgresql://bob:{typed}@db:5432/l2") == "postgresql://bob@db:5432/l2"
    option = quote_plus(password, errors="surrogatepass")
    assert without_password(f"postgresql://db/l2?password={option}&ssl=1") == "postgresql://db/l2?ssl=1"


@given(
    st.text(st.sampled_from("ab1:/@?&=%[]{}. \n") | st.characters())
    | st.just("sqlite://").flatmap(lambda s: ANY.map(s.__add__))
)
def test_hiding_twice_changes_nothing(text: str) -> None:
    shown = without_password(text)
    assert without_password(shown) == shown


@pytest.mark.parametrize(
    ("url", "message", "shown"),
    [
        ("mysql://bob:pw@db/l2", "no route to mysql://bob:pw@db/l2", "no route to mysql://bob@db/l2"),
        ("mysql://bob:p%40ss@db/l2", "bad password 'p@ss' or p%40ss", "bad password '…' or …"),
        ("mysql://bob:a@db/l2", "a password of a db: a", "… password of … db: …"),
        ("mysql://db/l2?password=hunter2", "option passwordhunter2", "option password…"),
        ("x:///?odbc_connect=UID%3Dbob%3BPWD%3Dhunter2", "login hunter2 failed", "login … failed"),
        ("mysql://db/l2", "dsn mysql://bob:pw@db", "dsn mysql://bob@db"),
    ],
)
def test_messages_of_drivers_do_not_repeat_it(url: str, message: str, shown: str) -> None:
    assert hide_password(message, url) == shown


def test_urls_inside_a_text() -> None:
    text = "see http://localhost:8080/ and\npostgresql://bob:pw@db/l2 and sqlite:///a@b.db"
    assert without_passwords(text) == text.replace(":pw", "")


def test_settings_are_shown_without_it_and_not_changed() -> None:
    stored = {"storage": "postgresql://bob:pw@db/l2", "lr": 0.1}
    assert shown_settings(stored) == {"storage": "postgresql://bob@db/l2", "lr": 0.1}
    assert stored["storage"] == "postgresql://bob:pw@db/l2"
    assert shown_settings({}) == {}


def test_an_at_sign_within_the_password_is_noticed() -> None:
    assert is_ambiguous("postgresql://bob:p@ss@db/l2")
    assert not is_ambiguous("postgresql://bob:p%40ss@db/l2")
    assert not is_ambiguous("sqlite:///a@b@c.db")
