"""The Inception Score: cases with a known value, and its definition with single logarithms."""

import numpy as np
import pytest

from hifill.evaluation.inception_score import inception_score


def test_bounds():
    """One certain class each, all classes equally often: their number. All alike: 1."""
    certain = np.tile(np.eye(7), (10, 1))
    assert inception_score(certain, splits=10) == pytest.approx((7, 0), abs=1e-12)
    alike = np.tile([0.5, 0.2, 0.3], (20, 1))
    assert inception_score(alike, splits=4)[0] == pytest.approx(1, rel=1e-12)


def test_by_hand():
    """p = (1, 0) and (1/2, 1/2), marginal (3/4, 1/4)."""
    divergence = (np.log(4 / 3) + 0.5 * np.log(2 / 3) + 0.5 * np.log(2)) / 2
    score, deviation = inception_score([[1, 0], [0.5, 0.5]], splits=1)
    assert score == pytest.approx(np.exp(divergence), rel=1e-14) and deviation == 0


def test_splits_are_consecutive():
    """23 pictures in 3 parts of 7, 8 and 8, as the published code cuts them."""
    probabilities = np.random.default_rng(0).dirichlet(np.full(5, 0.3), 23)
    scores = []
    for part in (probabilities[:7], probabilities[7:15], probabilities[15:]):
        divergences = [np.sum(p * (np.log(p) - np.log(part.mean(0)))) for p in part]
        scores.append(np.exp(np.mean(divergences)))
    expected = (np.mean(scores), np.std(scores))
    assert inception_score(probabilities, splits=3) == pytest.approx(expected, rel=1e-12)


def test_refusals():
    with pytest.raises(ValueError, match=r"10 splits of probabilities \[9, 2\]"):
        inception_score(np.full((9, 2), 0.5))
    for rows in ([[0.5, 0.6]], [[1.5, -0.5]], [[2.0, 3.0]]):
        with pytest.raises(ValueError, match="rows are not probabilities"):
            inception_score(rows, splits=1)
