"""Which photo an id means: by its id, its number, its file's name; and what is ambiguous."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from wordgaze.data.photo_ids import Match, Spelled, match_photos, spellings

FOLDERS = {1: "data/train/a.jpg", 2: "data/val/a.jpg", 3: "data/val/b.jpg"}


def photos(match: Match | str) -> Sequence[object]:
    assert isinstance(match, Match), match
    return match.photos


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["train/a.jpg", "val/a.jpg", "val/b.jpg"], [1, 2, 3]),
        (["/other/val/a.jpg", "x/b.jpg", "train\\a.jpg"], [2, 3, 1]),
        (["a.jpg", "b.jpg"], [None, 3]),
        ([3, "1", 2.0, "0003"], [3, 1, 2, 3]),
        ([3, 9, True], [3, None, None]),
    ],
)
def test_names_ids_and_numbers(values: list[object], expected: list[object]) -> None:
    spelled = [Spelled(value) for value in values if not isinstance(value, bool)]  # type: ignore[arg-type]
    assert photos(match_photos(FOLDERS, spelled)) == expected[: len(spelled)]


def test_the_same_name_in_another_folder_is_another_photo() -> None:
    one_photo = {7: "val/1.jpg"}
    assert photos(match_photos(one_photo, [Spelled("train/1.jpg"), Spelled("val/1.jpg")])) == [None, 7]
    assert photos(match_photos(one_photo, [Spelled("train/1.jpg")])) == [7]  # its folder may be called anything


def test_accents_are_written_in_two_ways() -> None:
    assert photos(match_photos({1: "cafe\u0301.jpg"}, [Spelled("caf\u00e9.jpg")])) == [1]


def test_a_name_that_is_another_photos_id_is_ambiguous() -> None:
    shifted = {1: "2.jpg", 2: "3.jpg", 3: "1.jpg"}
    ids = [Spelled(value) for value in (1, 2, 3)]
    assert photos(match_photos(shifted, ids)) == [1, 2, 3]
    assert photos(match_photos(shifted, [Spelled(f"{n}.jpg", True) for n in (1, 2, 3)])) == [3, 1, 2]
    stems = [Spelled(str(value), is_name=True) for value in (1, 2, 3)]
    match = match_photos(shifted, stems)
    assert isinstance(match, str) and "'1' is the id of one photo and the file name of another" in match


def test_endings_count_only_where_all_photos_have_numbers_of_their_own() -> None:
    flickr = {1: "1000_577c3a7d70.jpg", 2: "2000_693b08cb70.jpg"}
    assert photos(match_photos(flickr, [Spelled("70.jpg")])) == [None]
    assert photos(match_photos({1: "a.jpg"}, [Spelled("img_1.jpg")])) == [None]
    assert photos(match_photos({391895: ""}, [Spelled("COCO_val2014_000000391895.jpg")])) == [391895]


def test_the_first_few_stand_in_a_sentence() -> None:
    assert spellings([1, "a"]) == "1, 'a'" and spellings(range(9)) == "0, 1, 2, ..."


def test_ids_that_are_nearly_right_are_not_taken_for_names() -> None:
    """Numbered from 0 instead of 1: most are ids, all are numbers of names, of other photos."""
    counted = {number: f"img_{number - 1}.jpg" for number in range(1, 9)}
    match = match_photos(counted, [Spelled(number) for number in range(8)])
    assert isinstance(match, str) and "7 of the 8 photos match by id and 8 by file name" in match
    coco = {number: f"COCO_{7 * number:012d}.jpg" for number in range(1, 9)}  # 7 is an id, too
    assert photos(match_photos(coco, [Spelled(7 * number) for number in coco])) == list(coco)
