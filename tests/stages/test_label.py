"""Every voxel gets the class that the rule gives to the name it was drawn under, or the label is refused."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK

from pipeline.model.errors import LabelError
from pipeline.model.rules import Label, LabelClass
from pipeline.model.volume import Annotation, Grid, LabelMap, value_name
from pipeline.stages.label import known_names, label, meaning

SHAPE = (5, 4, 3)
AFFINE = np.array([[0.7, 0.1, 0, -81.3], [-0.1, 0.9, 0, 44.125], [0, 0, 2.5, -617.04], [0, 0, 0, 1]])
IMAGE = Grid(SHAPE, AFFINE)
Bools = npt.NDArray[np.bool_]


def voxels(*places: tuple[int, int, int]) -> Bools:
    mask = np.zeros(SHAPE, dtype=bool)
    for place in places:
        mask[place] = True
    return mask


A, B, C = voxels((0, 0, 0), (1, 0, 0)), voxels((3, 3, 2)), voxels((2, 2, 1), (2, 2, 2))


def wanted(name: str, value: int, *patterns: str, **others: object) -> LabelClass:
    return LabelClass(value=value, name=name, from_names=patterns or (name,), **others)


def rule(*classes: LabelClass, **others: object) -> Label:
    return Label(
        classes=classes or (wanted("liver", 1), wanted("cancer", 2, "tumou?r.*", "lesion")), **others
    )


def annotation(grid: Grid = IMAGE, **masks: Bools) -> Annotation:
    return Annotation({name.replace("_", " "): mask for name, mask in masks.items()}, grid)


def values(layer: npt.NDArray, *present: int) -> Annotation:
    return Annotation(LabelMap(layer[None], {value_name(value): (0, value) for value in present}), IMAGE)


def refusal(drawn: Annotation, by: Label, image: Grid = IMAGE) -> LabelError:
    with pytest.raises(LabelError) as caught:
        label(drawn, image, by)
    return caught.value


def test_names_are_matched_whole_without_case_and_outer_blanks() -> None:
    drawn = Annotation({"LIVER ": A, " Tumour 1": B}, IMAGE)
    step = label(drawn, IMAGE, rule())
    assert step.value.data.dtype == np.uint8
    assert np.array_equal(step.value.data, A * 1 + B * 2)
    assert refusal(annotation(liver=A, lesions=B), rule()).code == "label-name-unknown"
    assert refusal(annotation(liver=A, old_lesion=B), rule()).code == "label-name-unknown"


def test_the_note_counts_each_class_and_quotes_no_name_as_drawn() -> None:
    drawn = annotation(LIVER=A, Tumour_of_Jane_Doe=B, tumor_2=C, BODY=A)
    facts = label(drawn, IMAGE, rule(ignore=("body",))).note.facts
    assert facts["classes"]["1"] == {
        "name": "liver",
        "voxels": 2,
        "ml": "0.0032",
        "components": 1,
        "masks": {"name": 1},
    }
    assert facts["classes"]["2"] == {
        "name": "cancer",
        "voxels": 3,
        "ml": "0.0048",
        "components": 2,
        "masks": {"name": 2},
    }
    assert facts["ignored"] == 1
    assert "Jane" not in str(facts)
    assert "LIVER" not in str(facts)


def test_the_label_has_the_image_s_affine_to_the_byte() -> None:
    step = label(annotation(liver=A, lesion=B), IMAGE, rule())
    assert step.value.affine.tobytes() == IMAGE.affine.tobytes()
    assert step.value.data.shape == SHAPE


def test_several_masks_of_one_class_are_united() -> None:
    drawn = annotation(body=A, tail=C)
    step = label(drawn, IMAGE, rule(wanted("posterior", 1, "body", "tail", "both")))
    assert np.array_equal(step.value.data, A | C)
    overlapping = annotation(body=A, tail=C, both=A | C)
    assert np.array_equal(
        label(overlapping, IMAGE, rule(wanted("posterior", 1, "body|tail|both"))).value.data, A | C
    )


def test_the_name_as_drawn_counts_and_not_the_key() -> None:
    masks = {"tumour #1": A, "tumour #2": B}
    drawn = Annotation(masks, IMAGE, names=dict.fromkeys(masks, "tumour"))
    assert np.array_equal(label(drawn, IMAGE, rule(wanted("cancer", 1, "tumour"))).value.data, A | B)


@pytest.mark.parametrize("code", ["SCT:10200004", "SRT:T-62000"])
def test_codes_are_matched_by_meaning(code: str) -> None:
    drawn = Annotation({"Segment 1": A}, IMAGE, codes={"Segment 1": ("99X:1", code)})
    step = label(drawn, IMAGE, rule(wanted("liver", 1, from_codes=("SCT:10200004",))))
    assert np.array_equal(step.value.data, A)
    assert step.note.facts["classes"]["1"]["masks"] == {"code": 1}


def test_another_code_is_not_enough() -> None:
    drawn = Annotation({"Segment 1": A}, IMAGE, codes={"Segment 1": ("SCT:78961009",)})
    by = rule(wanted("liver", 1, from_codes=("SCT:10200004",)))
    assert refusal(drawn, by).code == "label-name-unknown"


def test_values_are_matched_by_the_class_s_own_or_its_listed_ones() -> None:
    layer = A * 1 + B * 2 + C * 7
    assert np.array_equal(
        label(
            values(layer, 1, 2, 7), IMAGE, rule(wanted("a", 1), wanted("b", 2, from_values=(2, 7)))
        ).value.data,
        A * 1 + (B | C) * 2,
    )
    swapped = rule(wanted("a", 1, from_values=(2,)), wanted("b", 2, from_values=(1, 7)))
    assert np.array_equal(label(values(layer, 1, 2, 7), IMAGE, swapped).value.data, B * 1 + (A | C) * 2)


def test_a_value_is_never_matched_by_a_pattern_of_names() -> None:
    assert refusal(values(A * 3, 3), rule(wanted("all", 1, ".*"))).code == "label-value-undeclared"


def test_an_undeclared_value_is_refused_and_an_ignored_one_is_not() -> None:
    drawn = values(A * 1 + B * 9, 1, 9)
    error = refusal(drawn, rule(wanted("a", 1)))
    assert error.code == "label-value-undeclared"
    assert "also 9" in error.found
    assert np.array_equal(label(drawn, IMAGE, rule(wanted("a", 1), ignore=("value 9",))).value.data, A)


def test_an_unknown_name_is_told_by_place_and_likeness_and_never_quoted() -> None:
    error = refusal(annotation(liver=A, tumouur=B, Jane_Doe=C), rule())
    assert error.code == "label-name-unknown"
    assert error.found == "mask 2 (nearest cancer), mask 3 (near none)"
    assert "Jane" not in str(error)


@pytest.mark.parametrize(
    ("name", "value", "becomes"),
    [
        (" LIVER", None, "liver"),
        ("body", None, "ignored"),
        ("value 2", 2, "cancer"),
        ("value 2", None, "refused: near none"),
        ("value 7", 7, "refused: undeclared value"),
        ("tumouur", None, "refused: nearest cancer"),
        ("lesion body", None, "refused: fits cancer and `ignore`"),
    ],
)
def test_what_a_name_becomes_is_said_as_label_decides_it(name: str, value: int | None, becomes: str) -> None:
    by = rule(wanted("liver", 1), wanted("cancer", 2, "tumou?r.*", "lesion.*"), ignore=(".*body",))
    assert meaning(name, value, (), by) == becomes


def test_a_long_list_of_unknown_names_is_cut() -> None:
    drawn = annotation(**{f"strange_{number}": A for number in range(50)})
    error = refusal(drawn, rule())
    assert error.found.endswith("mask 20 (near none) and 30 more")


def test_of_names_that_are_of_no_class_only_what_they_mean_is_left() -> None:
    by = rule(
        wanted("liver", 1, "liver"), wanted("cyst", 2, from_codes=("SCT:441457006",)), ignore=("couch.*",)
    )
    drawn = annotation(**{
        "liver": voxels((1, 1, 1)), "couch Quavexzor": voxels((2, 2, 2)), "Lumtribel": voxels((3, 3, 2)),
    })  # fmt: skip
    drawn = replace(drawn, codes={"Lumtribel": ("SCT:441457006", "99Q:Naxgorpyl")}, names={"liver": "LIVER "})
    plain = known_names(drawn, by)

    assert list(plain.masks) == ["liver", "ignored-2", "unnamed-3"]
    assert not re.search("quavex|lumtri|naxgor", f"{plain.masks.keys()} {plain.codes} {plain.names}", re.I)
    one, other = label(drawn, IMAGE, by), label(plain, IMAGE, by)
    assert one.note == other.note
    assert np.array_equal(one.value.data, other.value.data)
    with pytest.raises(LabelError):
        label(known_names(annotation(Naxgorpyl=voxels((1, 1, 1))), by), IMAGE, by)


def test_a_name_that_fits_two_classes_is_refused() -> None:
    error = refusal(
        annotation(liver_tumour=A), rule(wanted("liver", 1, "liver.*"), wanted("cancer", 2, ".*tumour"))
    )
    assert error.code == "label-name-ambiguous"
    assert error.found == "mask 1 (liver and cancer)"


def test_a_name_and_a_code_of_different_classes_are_refused() -> None:
    drawn = Annotation({"lesion": A}, IMAGE, codes={"lesion": ("SCT:10200004",)})
    by = rule(wanted("liver", 1, from_codes=("SCT:10200004",)), wanted("cancer", 2, "lesion"))
    assert refusal(drawn, by).code == "label-name-ambiguous"


def test_a_name_both_wanted_and_ignored_is_refused() -> None:
    assert refusal(annotation(liver=A), rule(ignore=("l.*",))).code == "label-name-ambiguous"


def test_a_value_both_wanted_and_ignored_is_refused() -> None:
    by = rule(wanted("a", 1), ignore=("value .*",))
    assert refusal(values(A * 1, 1), by).code == "label-name-ambiguous"


def test_precedence_decides_overlaps_and_the_note_says_so() -> None:
    drawn = annotation(liver=A | B, tumour=A | C)
    for order, kept in ((("cancer", "liver"), 2), (("liver", "cancer"), 1)):
        step = label(drawn, IMAGE, rule(precedence=order))
        assert np.array_equal(step.value.data, A * kept + B * 1 + C * 2)
        assert step.note.facts["overlaps"] == [{"kept": order[0], "lost": order[1], "voxels": 2}]


def test_overlaps_without_precedence_are_refused_whatever_the_order() -> None:
    for drawn in (annotation(liver=A, tumour=A), annotation(tumour=A, liver=A)):
        error = refusal(drawn, rule())
        assert error.code == "label-overlap"
        assert error.found == "voxels: cancer and liver share 2"


def test_precedence_orders_only_the_classes_it_lists() -> None:
    three = (wanted("a", 1), wanted("b", 2), wanted("c", 3))
    listed = rule(*three, precedence=("b", "a"))
    assert np.array_equal(
        label(annotation(a=A | C, b=A, c=B), IMAGE, listed).value.data, C * 1 + A * 2 + B * 3
    )
    assert refusal(annotation(a=A | C, b=B, c=A), listed).code == "label-overlap"


def test_overlaps_of_several_masks_are_summed_by_class() -> None:
    by = rule(precedence=("cancer", "liver"))
    step = label(annotation(liver=A | B | C, tumour_1=A, tumour_2=A | B), IMAGE, by)
    assert step.note.facts["overlaps"] == [{"kept": "cancer", "lost": "liver", "voxels": 3}]
    assert np.array_equal(step.value.data, C * 1 + (A | B) * 2)


def test_a_required_class_must_hold_a_voxel_and_an_optional_one_need_not() -> None:
    error = refusal(annotation(liver=A), rule())
    assert (error.code, error.wanted) == ("label-missing-class", "voxels of cancer")
    drawn = annotation(liver=A, tumour=np.zeros(SHAPE, dtype=bool))
    assert refusal(drawn, rule()).code == "label-missing-class"
    optional = rule(wanted("liver", 1), wanted("cancer", 2, "tumour", required=False))
    assert label(drawn, IMAGE, optional).note.facts["classes"]["2"]["components"] == 0


def test_a_required_class_that_another_covers_is_missing() -> None:
    by = rule(precedence=("cancer", "liver"))
    assert refusal(annotation(liver=A, tumour=A | B), by).code == "label-missing-class"


@pytest.mark.parametrize("drawn", [{}, {"liver": np.zeros(SHAPE, dtype=bool)}, {"body": A}])
def test_a_label_without_a_voxel_is_refused(drawn: dict[str, Bools]) -> None:
    optional = rule(wanted("liver", 1, required=False), ignore=("body",))
    assert refusal(annotation(**drawn), optional).code == "label-empty"


def test_more_than_255_classes_take_sixteen_bits() -> None:
    classes = [wanted(f"c{value}", value, required=False) for value in range(1, 301)]
    step = label(annotation(c300=A, c7=B), IMAGE, rule(*classes))
    assert step.value.data.dtype == np.uint16
    assert np.array_equal(step.value.data, A * 300 + B * 7)
    assert label(annotation(c255=A), IMAGE, rule(*classes[:255])).value.data.dtype == np.uint8


def test_components_are_joined_by_faces_only() -> None:
    by = rule(wanted("a", 1))
    for places, parts in (
        ([(0, 0, 0), (1, 1, 0)], 2),
        ([(0, 0, 0), (1, 1, 1)], 2),
        ([(0, 0, 0), (0, 0, 1), (0, 1, 1)], 1),
        ([(4, 3, 2)], 1),
    ):
        step = label(annotation(a=voxels(*places)), IMAGE, by)
        assert step.note.facts["classes"]["1"]["components"] == parts


# On the image's grid


def turned(axes: tuple[int, ...], signs: tuple[int, ...]) -> tuple[Grid, tuple[slice, ...]]:
    """The image's voxels with axes permuted and then reversed."""
    change = np.zeros((4, 4))
    change[3, 3] = 1
    for place, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        change[axis, place] = sign
        change[axis, 3] = 0 if sign > 0 else SHAPE[axis] - 1
    grid = Grid(tuple(SHAPE[axis] for axis in axes), AFFINE @ change)
    return grid, tuple(slice(None, None, sign) for sign in signs)


def test_each_of_the_48_orientations_keeps_every_voxel_in_its_place() -> None:
    chance = np.random.default_rng(0)
    truth = chance.random(SHAPE) < 0.4
    seen = set()
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            grid, reverse = turned(axes, signs)
            step = label(annotation(grid, a=np.transpose(truth, axes)[reverse]), IMAGE, rule(wanted("a", 1)))
            assert np.array_equal(step.value.data, truth)
            seen.add((tuple(step.note.facts["axes"]), tuple(step.note.facts["signs"])))
    assert len(seen) == 48


def moved(**change: object) -> Grid:
    affine = AFFINE.copy()
    for place, value in change.items():
        affine[int(place[1]), int(place[2])] += value
    return Grid(SHAPE, affine)


@pytest.mark.parametrize(
    "grid",
    [
        moved(a03=0.35),
        moved(a23=2.5),
        moved(a03=0.0011),
        moved(a00=0.01),
        moved(a21=0.01),
        Grid((5, 4, 2), AFFINE),
        Grid((4, 5, 3), AFFINE),
        Grid((6, 4, 3), AFFINE),
    ],
)
def test_a_label_on_another_grid_is_refused(grid: Grid) -> None:
    mask = np.ones(grid.shape, dtype=bool)
    assert refusal(annotation(grid, a=mask), rule(wanted("a", 1))).code == "label-off-grid"


def test_a_grid_that_differs_by_less_than_the_tolerance_is_the_image_s() -> None:
    step = label(annotation(moved(a03=0.0009), a=A), IMAGE, rule(wanted("a", 1)))
    assert np.array_equal(step.value.data, A)
    assert step.value.affine.tobytes() == IMAGE.affine.tobytes()


# A mask on another grid


BECAUSE = {"why": "the reader drew on the scanner's reformatted copy"}
COARSE = Grid((4, 4, 3), np.array([[2.0, 0, 0, 10], [0, 2.0, 0, -20], [0, 0, 3.0, 5], [0, 0, 0, 1]]))
FINE = Grid((8, 8, 3), np.array([[1.0, 0, 0, 9.5], [0, 1.0, 0, -20.5], [0, 0, 3.0, 5], [0, 0, 0, 1]]))


def resampling(*classes: LabelClass) -> Label:
    return rule(*classes, resample=BECAUSE)


def coarse(*places: tuple[int, int, int]) -> Bools:
    mask = np.zeros(COARSE.shape, dtype=bool)
    for place in places:
        mask[place] = True
    return mask


def test_each_voxel_takes_the_class_of_the_drawn_voxel_it_lies_in() -> None:
    drawn = Annotation({"a": coarse((1, 2, 0)), "b": coarse((3, 3, 2))}, COARSE)
    step = label(drawn, FINE, resampling(wanted("a", 1), wanted("b", 2)))
    true = np.zeros(FINE.shape, dtype=np.uint8)
    true[2:4, 4:6, 0] = 1
    true[6:8, 6:8, 2] = 2
    assert np.array_equal(step.value.data, true)
    assert step.value.affine.tobytes() == FINE.affine.tobytes()
    assert step.note.facts["classes"]["1"]["ml_before"] == "0.012"
    assert step.note.facts["classes"]["1"]["change_percent"] == "0"


def test_the_note_of_a_resampled_label_says_why_and_what_changed() -> None:
    half = Grid((4, 8, 3), FINE.affine)
    drawn = Annotation({"a": coarse((1, 0, 0), (3, 0, 0))}, COARSE)
    facts = label(drawn, half, resampling(wanted("a", 1))).note.facts
    assert facts["classes"]["1"]["change_percent"] == "-50"
    assert "axes" not in facts
    told = facts["resampled"]
    assert (told["interpolation"], told["why"]) == ("nearest", BECAUSE["why"])
    assert (told["drawn_voxels"], told["drawn_voxels_outside"], told["shape_before"]) == (2, 1, [4, 4, 3])


def test_another_grid_is_refused_without_the_rule() -> None:
    drawn = Annotation({"a": coarse((1, 2, 0))}, COARSE)
    assert refusal(drawn, rule(wanted("a", 1)), FINE).code == "label-off-grid"


def test_the_rule_changes_nothing_where_the_grids_are_one_but_for_their_axes() -> None:
    drawn = annotation(a=A)
    plain, ruled = (label(drawn, IMAGE, made(wanted("a", 1))) for made in (rule, resampling))
    assert np.array_equal(plain.value.data, ruled.value.data)
    assert plain.note == ruled.note


def test_a_class_that_resampling_would_lose_is_refused_even_if_it_may_be_missing() -> None:
    fine = np.zeros(FINE.shape, dtype=bool)
    thin, thick = fine.copy(), fine.copy()
    thin[0, 0, 0] = True
    thick[2:6, 2:6, :] = True
    drawn = Annotation({"thick": thick, "thin": thin}, FINE)
    by = resampling(wanted("thick", 1), wanted("thin", 2, required=False))
    assert refusal(drawn, by, COARSE).code == "label-missing-class"


def test_resampling_from_oblique_axes_agrees_with_a_second_resampler() -> None:
    angle = 0.3
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn * [0.9, 1.3, 2.0]
    affine[:3, 3] = [-3.1, 2.7, 0.4]
    drawn_grid = Grid((9, 7, 5), affine)
    mask = np.random.default_rng(3).random(drawn_grid.shape) > 0.5
    onto = Grid(
        (11, 12, 6), np.array([[0.71, 0, 0, -8.3], [0, 0.77, 0, 1.9], [0, 0, 1.9, 0.1], [0, 0, 0, 1]])
    )
    step = label(Annotation({"a": mask}, drawn_grid), onto, resampling(wanted("a", 1)))
    assert np.array_equal(step.value.data, second_opinion(mask, drawn_grid, onto))


def second_opinion(mask: Bools, drawn: Grid, onto: Grid) -> npt.NDArray[np.uint8]:
    def placed(image: SimpleITK.Image, grid: Grid) -> SimpleITK.Image:
        spacing = np.linalg.norm(grid.affine[:3, :3], axis=0)
        image.SetSpacing(spacing.tolist())
        image.SetDirection((grid.affine[:3, :3] / spacing).ravel().tolist())
        image.SetOrigin(grid.affine[:3, 3].tolist())
        return image

    image = placed(SimpleITK.GetImageFromArray(mask.astype(np.uint8).transpose()), drawn)
    like = placed(SimpleITK.Image([int(n) for n in onto.shape], SimpleITK.sitkUInt8), onto)
    found = SimpleITK.Resample(image, like, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor, 0)
    return np.asarray(SimpleITK.GetArrayFromImage(found).transpose())


def part_of(image: Grid, low: tuple[int, int, int], shape: tuple[int, int, int], flip: int) -> Annotation:
    """A box of the image's voxels, one axis of it reversed, of which the first voxel in the box is drawn."""
    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ low
    affine[:3, 3] += affine[:3, flip] * (shape[flip] - 1)
    affine[:3, flip] *= -1
    layers = np.zeros((1, *shape), np.uint8)
    layers[0][tuple(shape[n] - 1 if n == flip else 0 for n in range(3))] = 1
    return Annotation(LabelMap(layers, {"value 1": (0, 1)}), Grid(shape, affine), is_part=True)


@pytest.mark.parametrize("flip", [0, 1, 2])
def test_a_declared_part_of_the_grid_lands_on_its_voxels(flip: int) -> None:
    image = Grid((7, 8, 9), np.diag([0.7, 0.9, 2.5, 1.0]))
    rule = Label(classes=(LabelClass(value=1, name="organ", from_names=()),))
    drawn = part_of(image, (2, 3, 4), (3, 4, 5), flip)
    assert np.argwhere(label(drawn, image, rule).value.data).tolist() == [[2, 3, 4]]


def test_a_part_that_is_not_declared_off_the_voxels_or_beyond_the_image_is_refused() -> None:
    image = Grid((7, 8, 9), np.diag([0.7, 0.9, 2.5, 1.0]))
    rule = Label(classes=(LabelClass(value=1, name="organ", from_names=()),))
    drawn = part_of(image, (2, 3, 4), (3, 4, 5), 0)
    off = drawn.grid.affine.copy()
    off[0, 3] += 0.3
    for wrong in (
        replace(drawn, is_part=False),
        replace(drawn, grid=Grid(drawn.grid.shape, off)),
        part_of(image, (5, 3, 4), (3, 4, 5), 0),
    ):
        with pytest.raises(LabelError) as refusal:
            label(wrong, image, rule)
        assert refusal.value.code == "label-off-grid"
