"""Settings: whole numbers where they must be, and promises that can be kept."""

from __future__ import annotations

import math

import pytest

from edge_runtime import Settings


@pytest.mark.parametrize("rate", [0, 0.5, -0.1, 1, math.nan, math.inf])
def test_a_rate_that_cannot_be_promised_is_refused(rate):
    with pytest.raises(ValueError, match="false_alarm_rate"):
        Settings(false_alarm_rate=rate)


@pytest.mark.parametrize("length", [0, 1, -5, math.nan, math.inf])
def test_a_run_length_that_means_nothing_is_refused(length):
    with pytest.raises(ValueError, match="drift_run_length"):
        Settings(drift_run_length=length)


@pytest.mark.parametrize("name", ["labels_per_class", "labels_per_hour", "max_slots"])
@pytest.mark.parametrize("value", [2.5, math.nan, math.inf, True, "3", None, -1])
def test_numbers_of_labels_and_slots_are_whole_ones(name, value):
    with pytest.raises(ValueError, match=f"{name}"):
        Settings(**{name: value})


def test_whole_numbers_may_come_as_floats_as_manifests_have_them():
    found = Settings(labels_per_class=7.0, labels_per_hour=0.0, max_slots=3.0)
    assert (found.labels_per_class, found.labels_per_hour, found.max_slots) == (7, 0, 3)
    assert type(found.labels_per_class) is int


@pytest.mark.parametrize(
    ("name", "value"), [("labels_per_class", 1), ("max_slots", 0), ("max_slots", 257)]
)
def test_numbers_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        Settings(**{name: value})


def test_settings_cannot_be_changed_and_are_equal_by_value():
    assert Settings() == Settings(0.05)
    with pytest.raises(AttributeError):
        Settings().max_slots = 3  # type: ignore[misc]
