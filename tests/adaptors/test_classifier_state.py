"""A classifier's saved state: learning goes on from it unchanged, and a damaged one is refused."""

import json

import numpy as np
import pytest

from adaptors import TargetProjectionClassifier
from tests.adaptors.learning import assert_same, blobs, small


@pytest.mark.parametrize("labels", [["a", "b", "c"], [10, 20, 30]])
@pytest.mark.parametrize("learn", ["fit", "partial_fit"])
def test_learning_continues_from_a_saved_state_as_if_nothing_had_happened(learn, labels):
    X, y = blobs()
    names = np.array(labels)[y]
    clf = getattr(small(loss="cross_entropy"), learn)(X, names)
    header, arrays = clf.to_state()
    other = TargetProjectionClassifier.from_state(json.loads(json.dumps(header)), arrays)
    np.testing.assert_array_equal(other.predict(X), clf.predict(X))
    for one in (clf, other):
        one.partial_fit(X[:1], names[:1]).partial_fit(X, names)
    assert_same(clf, other)
    assert other.predict(X).dtype.kind == clf.predict(X).dtype.kind


def test_a_state_holds_arrays_and_a_header_that_json_can_write():
    header, arrays = small().fit(*blobs()).to_state()
    assert json.loads(json.dumps(header)) == header
    assert all(isinstance(a, np.ndarray) and a.dtype.kind == "f" for a in arrays.values())


def test_a_state_of_version_1_is_still_read():
    X, y = blobs()
    clf = small(hidden_learning_rate=1.0).fit(X, y)
    header, arrays = clf.to_state()
    for name in ("codes", "momentum", "noise"):
        del header["params"][name]
    old = TargetProjectionClassifier.from_state({**header, "version": 1}, arrays)
    np.testing.assert_array_equal(old.predict_proba(X), clf.predict_proba(X))


@pytest.mark.parametrize(
    "change",
    [
        {"version": 0},
        {"format": "adaptors.network"},
        {"params": {"hidden": [17]}},
        {"params": {"size": 3}},
        {"params": {"hidden": [16], "loss": "l1"}},
        {"params": {"hidden": [16], "epochs": -1}},
        {"params": None},
        {"classes": [0, 1]},
        {"classes": [0, 1, 1]},
        {"classes": [0, 1, "a"]},
        {"classes": 3},
        {"count": -1.0},
        {"count": None},
        {"network": {}},
        {"network": 3},
        {"count": ...},
    ],
    ids=str,
)
def test_a_damaged_state_is_refused(change):
    header, arrays = small().fit(*blobs()).to_state()
    header = {k: v for k, v in {**header, **change}.items() if v is not ...}
    with pytest.raises(ValueError, match=r"."):
        TargetProjectionClassifier.from_state(header, arrays)


@pytest.mark.parametrize("name", ["mean", "squares", "network.output.bias"])
def test_a_state_without_one_of_its_arrays_is_refused(name):
    header, arrays = small().fit(*blobs()).to_state()
    del arrays[name]
    with pytest.raises(ValueError, match="state"):
        TargetProjectionClassifier.from_state(header, arrays)
