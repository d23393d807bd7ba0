"""Labels to class indices: plain ints or strings, whatever they come as. Bad ones are refused."""

from __future__ import annotations

import enum

import numpy as np
import pytest

from edge_runtime.errors import LabelError
from edge_runtime.memory.classes import MAX_CLASSES, indices_of, plain_label


class Word(str, enum.Enum):
    CAT = "cat"


class Number(enum.IntEnum):
    TWO = 2


class Plain(enum.Enum):
    DOG = "dog"


@pytest.mark.parametrize(
    ("label", "plain"),
    [
        (3, 3),
        ("cat", "cat"),
        (np.int64(-3), -3),
        (np.uint8(200), 200),
        (np.str_("cat"), "cat"),
        (True, 1),
        (np.bool_(False), 0),
        (Word.CAT, "cat"),
        (Number.TWO, 2),
        (Plain.DOG, "dog"),
    ],
)
def test_labels_of_all_kinds_become_plain_ones(label, plain):
    found = plain_label(label)
    assert found == plain
    assert type(found) is type(plain)


@pytest.mark.parametrize("label", [1.5, None, (1,), b"cat", [1], np.float32(1), object()])
def test_labels_that_are_neither_ints_nor_strings_are_refused(label):
    with pytest.raises(LabelError, match="expected int or str"):
        plain_label(label)


def test_new_labels_are_appended_in_the_order_in_which_they_come():
    assert indices_of(["b", "c", "b", "a"], ["a"]) == ([1, 2, 1, 0], ["a", "b", "c"])


@pytest.mark.parametrize(("labels", "known"), [([0, "a"], []), (["a"], [0]), ([7], ["a", "b"])])
def test_ints_and_strings_are_never_mixed(labels, known):
    with pytest.raises(LabelError, match="but the classes so far are"):
        indices_of(labels, known)


def test_there_is_an_end_to_classes():
    assert len(indices_of(range(MAX_CLASSES), ())[1]) == MAX_CLASSES
    with pytest.raises(LabelError, match=f"{MAX_CLASSES + 1} of {MAX_CLASSES}"):
        indices_of(range(MAX_CLASSES + 1), ())


def test_a_bad_label_in_a_batch_leaves_the_classes_as_they_were():
    known = ["a"]
    with pytest.raises(LabelError):
        indices_of(["b", "c", None], known)
    assert known == ["a"]
