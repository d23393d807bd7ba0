"""Forged state, part by part: refused with a StateError, or taken and able to answer."""

from __future__ import annotations

import contextlib
import warnings
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.errors import StateError
from edge_runtime.memory.memory import Memory
from edge_runtime.model.derived import DerivedModel
from edge_runtime.model.experts.adaptor import Adaptor
from edge_runtime.model.restoring import frame_from, score_from
from hdc.detection.conformal import p_value
from tests.domains import N_CLASSES, N_FEATURES, domain
from tests.model.test_fitting import fitted, remembered

VALUES = (-1, 0, 1, 2, 127, -(10**6), 10**9, 2**62, np.nan, np.inf, -np.inf, 1e-300, 1e300)
DTYPES = ("uint8", "int8", "int16", "int64", "float16", "float32", "float64", "complex64", "bool")


@cache
def made():
    """Memory with evicted labels, and a model with an adaptor, of 200 labels of two slots."""
    (X, y), (Z, z) = domain(0, 100, 0), domain(1, 100, 1)
    memory = remembered(np.concatenate([X, Z]), [*y, *z], slot=np.repeat([0, 1], 100))
    memory.fit_into(int(memory.n_bytes * 0.8))
    model = fitted(memory, hidden=8).model
    return memory.to_state(), model.to_state()


def memory_state():
    return made()[0]


def part_of_model(name):
    return {
        key.removeprefix(name + "/"): array
        for key, array in made()[1].items()
        if key.startswith(name + "/")
    }


def use_memory(arrays):
    memory = Memory.from_state(arrays, N_FEATURES, N_CLASSES)
    memory.counts(N_CLASSES)
    memory.exemplars.add(np.zeros(N_FEATURES), 0, sample=999)
    memory.fit_into(memory.n_bytes // 2)
    memory.copy().remove_class(1)


def use_model(arrays):
    model = DerivedModel.from_state(arrays, N_FEATURES, 0)
    model.check_classes(N_CLASSES)
    answers = model.answer(domain(0, 5, 2)[0].astype(float), N_CLASSES)
    assert all(each.probabilities.shape == (N_CLASSES,) for each in answers)
    assert sum(model.bytes_by_part.values()) > 0


def use_frame(arrays):
    frame = frame_from(arrays, N_FEATURES)
    centred = frame.centred(np.ones((3, N_FEATURES), np.float32))
    frame.outside(centred, frame.project(centred))


def use_adaptor(arrays):
    adaptor = Adaptor.from_state(arrays, N_FEATURES)
    if adaptor.classes.min() >= 0 and adaptor.classes.max() < N_CLASSES:  # else the model refuses
        others = np.zeros((3, N_CLASSES))
        adaptor.log_probabilities(np.ones((3, N_FEATURES), np.float32), others)


def use_score(arrays):
    score = score_from(arrays)
    values = score.of(np.ones((3, 3)))
    assert 0 < p_value(score.reference(0), float(values[0])) <= 1
    score.of_cell(1, 1)


PARTS = {
    "memory": (memory_state, use_memory),
    "model": (lambda: made()[1], use_model),
    "frame": (lambda: part_of_model("frame"), use_frame),
    "adaptor": (lambda: part_of_model("adaptor"), use_adaptor),
    "score": (lambda: part_of_model("score"), use_score),
}


def check(use, arrays):
    """It is refused with a StateError, or serves; numbers out of all bounds may overflow."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        with contextlib.suppress(StateError):
            use(arrays)


def reshaped(array, how):
    if how == "cut":
        return array[:-1] if array.ndim else array
    if how == "empty":
        return array[:0] if array.ndim else array
    if how == "longer":
        return np.concatenate([array, array[:1]]) if array.ndim else array
    if how == "flat":
        return array.reshape(-1)
    if how == "deeper":
        return array[..., None]
    if how == "narrower" and array.ndim:
        return array[..., :-1]
    return np.zeros((), array.dtype)


def with_value(array, place, value):
    copied = array.copy()
    if copied.size:
        with np.errstate(all="ignore"):
            copied.reshape(-1)[place % copied.size] = np.asarray(value).astype(copied.dtype)
    return copied


def filled(array, value):
    with np.errstate(all="ignore"):
        return np.full_like(array, np.asarray(value).astype(array.dtype))


DAMAGE = st.one_of(
    st.tuples(
        st.just(reshaped),
        st.tuples(
            st.sampled_from(("cut", "empty", "longer", "flat", "deeper", "scalar", "narrower"))
        ),
    ),
    st.tuples(st.just(with_value), st.tuples(st.integers(0, 10**6), st.sampled_from(VALUES))),
    st.tuples(st.just(filled), st.tuples(st.sampled_from(VALUES))),
    st.tuples(st.just(lambda a, t: a.astype(t)), st.tuples(st.sampled_from(DTYPES))),
)


@pytest.mark.parametrize("part", PARTS)
def test_each_part_serves_as_it_was_saved(part):
    state, use = PARTS[part]
    use(state())


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_field_is_refused_by_name(part):
    state, use = PARTS[part]
    for name in state():
        if name.startswith("adaptor/"):
            continue  # without all of them, there is none
        with pytest.raises(StateError, match="is missing"):
            use({key: array for key, array in state().items() if key != name})


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.filterwarnings("ignore:.*complex.*")
@settings(max_examples=80)
@given(data=st.data())
def test_a_changed_field_is_refused_or_serves(part, data):
    state, use = PARTS[part]
    arrays = dict(state())
    for _ in range(data.draw(st.integers(1, 2))):
        name = data.draw(st.sampled_from(sorted(arrays)))
        damage, args = data.draw(DAMAGE)
        with np.errstate(all="ignore"):
            arrays[name] = damage(arrays[name], *args)
    check(use, arrays)


@pytest.mark.parametrize("part", PARTS)
def test_every_field_emptied_filled_or_retyped_alone_is_refused_or_serves(part):
    state, use = PARTS[part]
    for name, array in state().items():
        for how in ("empty", "cut", "longer", "narrower"):
            check(use, {**state(), name: reshaped(array, how) if array.ndim else array})
        for value in VALUES[::2]:
            check(use, {**state(), name: filled(array, value)})


def test_a_field_that_is_there_twice_as_long_is_refused_with_both_shapes():
    state = memory_state()
    labels = np.repeat(state["exemplars/labels"], 2)
    with pytest.raises(StateError, match="labels has shape"):
        use_memory({**state, "exemplars/labels": labels})
