"""Declared fields: every way in which an array can be wrong is refused, with what was expected."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime.errors import StateError
from edge_runtime.state.fields import Field, arrays_of, put_under, restored, under

FIELDS = (
    Field("rows", "float16 int8", ("n", "features")),
    Field("labels", "int16", ("n",)),
    Field("level", "float64", (2,)),
)
GOOD = {
    "rows": np.zeros((3, 4), np.float16),
    "labels": np.zeros(3, np.int16),
    "level": np.ones(2),
}


def test_what_fits_comes_back_as_copies_and_nothing_else():
    found = restored({**GOOD, "other": np.zeros(9)}, FIELDS, {"features": 4})
    assert found.keys() == GOOD.keys()
    found["rows"][:] = 7
    assert (GOOD["rows"] == 0).all()


def test_a_field_may_have_one_of_several_types():
    restored({**GOOD, "rows": np.zeros((3, 4), np.int8)}, FIELDS, {})


def test_lengths_that_are_not_known_are_whatever_is_found_first():
    restored({**GOOD, "rows": np.zeros((3, 9), np.float16)}, FIELDS, {})


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("labels", None, "labels is missing"),
        ("labels", np.zeros(3, np.int32), "labels is int32, expected int16"),
        ("rows", np.zeros((3, 4), np.float32), "rows is float32, expected float16 int8"),
        ("rows", np.zeros((3, 4), np.complex64), "expected float16"),
        ("labels", np.zeros(4, np.int16), r"labels has shape \(4,\), expected \(3,\)"),
        ("labels", np.zeros((3, 1), np.int16), "labels has shape"),
        ("labels", np.zeros((), np.int16), "labels has shape"),
        ("rows", np.zeros((3, 5), np.float16), "rows has shape"),
        ("rows", np.zeros(12, np.float16), "rows has shape"),
        ("level", np.ones(3), r"level has shape \(3,\), expected \(2,\)"),
        ("level", np.array([1, np.nan]), "level holds NaN or infinity"),
        ("level", np.array([np.inf, 1]), "level holds NaN or infinity"),
        ("rows", np.full((3, 4), np.inf, np.float16), "rows holds NaN or infinity"),
    ],
)
def test_a_wrong_field_is_refused_by_name(name, array, message):
    arrays = {key: value for key, value in {**GOOD, name: array}.items() if value is not None}
    with pytest.raises(StateError, match=message):
        restored(arrays, FIELDS, {"features": 4})


def test_a_part_gives_its_arrays_by_name():
    class Part:
        rows, labels, level = GOOD["rows"], GOOD["labels"], [1.0, 1.0]

    found = arrays_of(Part(), FIELDS)
    assert found.keys() == GOOD.keys()
    np.testing.assert_array_equal(found["level"], GOOD["level"])


def test_parts_are_put_under_names_and_found_again():
    arrays = put_under("a", GOOD) | put_under("ab", {"x": np.zeros(1)})
    assert under("a", arrays).keys() == GOOD.keys()
    assert under("ab", arrays).keys() == {"x"}
    assert under("b", arrays) == {}
