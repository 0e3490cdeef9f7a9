"""Names of marked places: none is cut off or crossed by another's line, wherever the marks are."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from l2tune.report.label_rows import Label, in_rows, spread_out

ROOM = 240.0
LABELS = st.builds(Label, st.floats(0, ROOM), st.sampled_from([80.0, 120.0, 140.0]))


@given(st.lists(LABELS, min_size=1, max_size=3))
def test_names_always_have_room(labels: list[Label]) -> None:
    places = in_rows(labels, 50, ROOM + 12)
    assert all(place.reached for place in places) or len(places) > 1
    assert sorted(place.row for place in places) == list(range(len(labels)))
    for label, place in zip(labels, places, strict=True):
        start = label.at - label.width if place.grows_left else label.at
        assert start >= -50
        assert start + label.width <= ROOM + 12
        for other, above in zip(labels, places, strict=True):
            crosses = above.reached and above.row > place.row and start < other.at < start + label.width
            assert not crosses


def test_a_line_ends_below_the_names_only_where_it_must() -> None:
    assert all(place.reached for place in in_rows([Label(100, 120), Label(130, 120)], 50, ROOM + 12))
    assert [place.reached for place in in_rows([Label(40, 120), Label(140, 120)], 50, ROOM + 12)].count(False) == 1


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.05, 0.33)), min_size=1, max_size=3))
def test_names_beside_each_other_do_not_overlap(given_labels: list[tuple[float, float]]) -> None:
    centers, widths = sorted(center for center, _ in given_labels), [width for _, width in given_labels]
    places = spread_out(centers, widths)
    ends = [(place - width / 2, place + width / 2) for place, width in zip(places, widths, strict=True)]
    assert ends[0][0] >= -1e-9
    assert ends[-1][1] <= 1 + 1e-9
    for (_, right), (left, _) in pairwise(ends):
        assert right <= left + 1e-9


def test_what_has_room_stays() -> None:
    assert spread_out([0.2, 0.5, 0.8], [0.2, 0.2, 0.2]) == [0.2, 0.5, 0.8]
