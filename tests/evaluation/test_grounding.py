"""Maps against boxes, with figures worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from wordgaze.evaluation.grounding import (
    CONTROLS,
    PointingTrial,
    Target,
    View,
    area_under_roc,
    box_mask,
    mean_over_photos,
    summary,
)


def view() -> View:
    """A photo of 12 x 8 pixels; the input's 2 x 2 patches show its middle 8 columns, 4 x 4 pixels each."""
    cells = np.zeros((8, 12), int)
    for patch, (row, column) in enumerate(np.ndindex(2, 2), start=1):
        cells[4 * row : 4 * row + 4, 2 + 4 * column : 6 + 4 * column] = patch
    return View(cells, np.array([[4, 2], [8, 2], [4, 6], [8, 6]]), np.ones(4, bool))


def test_boxes_hold_the_pixels_whose_center_they_hold() -> None:
    mask = box_mask([(1, 0, 2, 1), (3.6, 1.4, 1.0, 1.2)], (4, 6))
    assert [(int(y), int(x)) for y, x in np.argwhere(mask)] == [(0, 1), (0, 2), (1, 4), (2, 4)]
    assert np.argwhere(box_mask([(2.1, 3.1, 0.2, 0.2)], (4, 6))).tolist() == [[3, 2]]  # too small for any center
    assert box_mask([(-5, -5, 100, 100)], (4, 6)).all()
    assert box_mask([(5.9, 3.9, 5, 5)], (4, 6)).sum() == 1  # out of the photo but for a corner


def test_scores_by_hand() -> None:
    target = Target(view(), [(2, 0, 4, 4)])  # the first patch, exactly
    maps = np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1], [0.25, 0.25, 0.25, 0.25]])
    pointing, mass, area = target.scores(maps).T
    assert pointing.tolist() == [1, 0, 1]  # of equal patches the first is the peak
    np.testing.assert_allclose(mass, [0.7, 0.1, 0.25])
    # 16 pixels inside; 80 outside: 48 under the other patches, and 32 zeros that the input did not show.
    np.testing.assert_allclose(area, [1, (32 + 0.5 * 32) / 80, (32 + 0.5 * 48) / 80])


def test_the_share_of_a_patch_in_the_box_counts() -> None:
    target = Target(view(), [(4, 0, 4, 8)])  # the right half of the left patches, the left half of the right ones
    np.testing.assert_allclose(target.scores(np.array([[0.4, 0.3, 0.2, 0.1]]))[:, 1], 0.5)


def test_what_the_input_cut_away_can_not_be_pointed_at() -> None:
    target = Target(view(), [(0, 0, 2, 8)])
    assert target.cut_away and not Target(view(), [(0, 0, 3, 8)]).cut_away
    pointing, mass, area = target.scores(np.array([[0.4, 0.3, 0.2, 0.1]]))[0]
    assert (pointing, mass) == (0, 0)
    assert area == pytest.approx(0.5 * 16 / 80)  # below all that was shown, level with the other side


def test_patches_in_the_padding_neither_peak_nor_weigh() -> None:
    cells = np.zeros((4, 8), int)
    cells[:, :4], cells[:, 4:] = 3, 4  # the upper patches show padding
    padded = View(cells, np.array([[2, 0], [6, 0], [2, 2], [6, 2]]), np.array([False, False, True, True]))
    pointing, mass, area = Target(padded, [(4, 0, 4, 4)]).scores(np.array([[0.6, 0.0, 0.1, 0.3]]))[0]
    assert (pointing, area) == (1, 1) and mass == pytest.approx(0.75)


def test_center_and_uniform_by_hand() -> None:
    everywhere = Target(view(), [(0, 0, 12, 8)])
    assert everywhere.center[:2].tolist() == [1, 1] and math.isnan(everywhere.center[2])
    assert everywhere.uniform[:2].tolist() == [1, 1] and math.isnan(everywhere.uniform[2])
    half = Target(view(), [(0, 0, 6, 8)])
    np.testing.assert_allclose(half.uniform, [0.5, 0.5, 0.5])
    np.testing.assert_allclose(half.center, [0, 0.5, 0.5])  # the middle is the right half's first pixel
    middle, corner = Target(view(), [(4, 2, 4, 4)]), Target(view(), [(0, 0, 2, 2)])
    assert middle.center[0] == 1 and middle.center[1] > 1 / 6 and middle.center[2] > 0.9
    assert corner.center[0] == 0 and corner.center[2] < 0.1


def test_area_under_roc_is_the_chance_that_an_inner_pixel_is_above_an_outer_one() -> None:
    rng = np.random.default_rng(0)
    values, inside = rng.integers(0, 5, 30), rng.random(30) < 0.4
    pairs = [(a > b) + 0.5 * (a == b) for a in values[inside] for b in values[~inside]]
    assert area_under_roc(values, inside.astype(float), np.ones(30)) == pytest.approx(np.mean(pairs))


def trial(photo: int, category: str, pointing: float, center: float) -> PointingTrial:
    return PointingTrial(photo, category, category, {"map": np.full(3, pointing), "center": np.full(3, center)})


def test_a_summary_has_all_groups_and_says_what_is_not_known() -> None:
    trials = [trial(1, "person", 1, 0), trial(1, "dog", 1, 1), trial(2, "dog", 0, 1), trial(3, "cat", 1, 0)]
    values = summary(trials)
    assert values["words"] == 4 and values["photos"] == 3
    assert [values["pointing"][group]["value"] for group in ("all", "person", "other")] == [0.75, 1, 2 / 3]
    assert [values["pointing"][group]["n"] for group in ("all", "person", "other")] == [4, 1, 3]
    assert values["center"]["other"]["value"] == 2 / 3
    assert values["difference"]["center"]["all"]["value"] == pytest.approx(0.25)
    assert values["other_photo"]["all"] == {"value": None, "low": None, "high": None, "n": 0}
    assert set(CONTROLS) <= set(values) and set(values["controls"]["auc"]) == set(CONTROLS)
    assert list(values["categories"]) == ["cat", "dog", "person"]
    assert values["categories"]["dog"]["pointing"]["value"] == 0.5
    assert values["categories"]["dog"]["center"]["value"] == 1
    assert summary([])["pointing"]["all"]["n"] == 0


def test_intervals_draw_photos_not_words() -> None:
    values = np.array([1.0] * 50 + [0.0] * 50)
    by_word = mean_over_photos(values, list(range(100)))
    by_photo = mean_over_photos(values, [index // 25 for index in range(100)])  # four photos of 25 words
    assert by_word["value"] == by_photo["value"] == 0.5
    assert by_word["low"] > 0.35 and by_photo["low"] == 0 and by_photo["high"] == 1


def test_words_count_alike_however_they_lie_in_photos() -> None:
    values = mean_over_photos(np.array([1.0, 1, 1, 0, np.nan]), [7, 7, 7, 8, 9])
    assert values["value"] == 0.75 and values["n"] == 4 and values["low"] == 0 and values["high"] == 1


def test_the_difference_is_paired() -> None:
    rng = np.random.default_rng(0)
    hits = rng.random(200) < 0.5
    trials = [trial(index, "dog", float(hit), float(hit) - 0.1) for index, hit in enumerate(hits)]
    values = summary(trials)
    assert values["pointing"]["all"]["low"] < values["center"]["all"]["high"]  # each alone says nothing
    gap = values["difference"]["center"]["all"]
    assert gap["low"] == pytest.approx(0.1) and gap["high"] == pytest.approx(0.1)
