"""The picture of the rooms shows the code as it is."""

import pytest

from docs import rooms


def test_the_picture_is_up_to_date():
    assert rooms.drawn(rooms.PICTURE.read_text(encoding="utf-8")) == rooms.data(), "run python -m docs.rooms"


def test_a_picture_of_other_code_is_noticed(monkeypatch):
    picture = rooms.draw()
    assert rooms.drawn(picture) == rooms.data()
    monkeypatch.setattr(rooms, "ROWS", [*rooms.ROWS[:-1], {*rooms.ROWS[-1], "catalog"}])
    assert rooms.drawn(picture) != rooms.data()
    assert rooms.drawn(rooms.draw()) == rooms.data()
    monkeypatch.setattr(rooms, "imported_rows", lambda: {0: set(), 1: {0}})
    assert rooms.drawn(picture) != rooms.data()


def test_arrows_that_follow_from_others_are_left_out():
    below = {0: {0}, 1: {0}, 2: {0, 1}, 3: {0}, 4: {2, 3, 1}, 5: {4, 0, 6}}
    assert rooms.arrows(below) == [(1, 0), (2, 1), (3, 0), (4, 2), (4, 3), (5, 4)]


def test_arrows_in_one_lane_do_not_touch():
    lanes = rooms.lanes([(4, 2), (9, 4), (8, 6), (6, 4), (9, 7)])
    for (row, other), lane in lanes.items():
        for (start, end), another in lanes.items():
            assert (row, other) == (start, end) or lane != another or other > start or end > row


def test_only_rooms_have_words():
    assert rooms.WORDS.keys() == rooms.ROW.keys()


def test_a_room_without_words_is_named(monkeypatch):
    monkeypatch.setattr(rooms, "ROWS", [{"attic"}, *rooms.ROWS])
    with pytest.raises(ValueError, match="room 'attic': say in WORDS"):
        rooms.draw()
