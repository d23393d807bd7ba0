"""river's models on feature vectors: one for everything, or one for each domain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from river import linear_model, multiclass, preprocessing

TAUGHT = 200  # labels of each part: more do not change what an answer costs


class RiverSlots:
    """A pipeline for each part of the data; their probabilities are averaged."""

    def __init__(self, parts: Sequence[tuple[Any, Any]]) -> None:
        self._models = []
        for X, y in parts:
            model = preprocessing.StandardScaler() | multiclass.OneVsRestClassifier(
                linear_model.LogisticRegression()
            )
            for x, k in zip(X[:TAUGHT], y[:TAUGHT], strict=True):
                model.learn_one(dict(enumerate(x.tolist())), int(k))
            self._models.append(model)

    def answer(self, x: np.ndarray[Any, Any]) -> int:
        """Most probable class of one sample (d,)."""
        features = dict(enumerate(x.tolist()))
        votes: dict[int, float] = {}
        for model in self._models:
            for k, p in model.predict_proba_one(features).items():
                votes[k] = votes.get(k, 0.0) + p
        return max(votes, key=lambda k: votes[k])

    def learn(self, x: np.ndarray[Any, Any], k: int) -> int:
        """Answer, then learn one label, by the first model."""
        features = dict(enumerate(x.tolist()))
        best = self._models[0].predict_one(features)
        self._models[0].learn_one(features, int(k))
        return int(best)
