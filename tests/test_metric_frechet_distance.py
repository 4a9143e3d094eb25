"""The Frechet distance against closed forms and SciPy."""

import numpy as np
import pytest
import scipy.linalg

from hifill.evaluation.frechet_distance import frechet_distance, frechet_distance_of_sets


def _moments(features):
    return features.mean(0), np.cov(features, rowvar=False)


def _features(count, seed):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, 50)) @ rng.standard_normal((50, 50)) + 0.3 * seed


def test_by_hand():
    """Covariances that commute: the sum of squared differences of standard deviations."""
    mean = np.zeros(3)
    assert frechet_distance(mean, np.diag([4.0, 9, 0]), mean + 2, np.diag([1.0, 25, 16])) == (
        pytest.approx(3 * 2**2 + 1 + 4 + 16, rel=1e-14)
    )
    # One dimension: (m1 - m2)^2 + (s1 - s2)^2.
    assert frechet_distance([1], [[9]], [4], [[25]]) == pytest.approx(13, rel=1e-14)


def test_equal_to_the_square_root_of_the_product():
    """As published code computes it; the covariances do not commute."""
    (m1, c1), (m2, c2) = _moments(_features(400, 1)), _moments(_features(300, 2))
    root = scipy.linalg.sqrtm(c1 @ c2)
    expected = ((m1 - m2) ** 2).sum() + np.trace(c1 + c2 - 2 * root.real)
    assert frechet_distance(m1, c1, m2, c2) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(m2, c2, m1, c1) == pytest.approx(expected, rel=1e-9)


def test_fewer_pictures_than_channels():
    """Rank 9 of 50. Equal sets have the distance 0, disjoint directions add up."""
    mean, covariance = _moments(_features(10, 1))
    scale = np.trace(covariance)
    assert frechet_distance(mean, covariance, mean, covariance) < 1e-10 * scale
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((50, 50)))[0]
    parts = [basis[:, k] @ basis[:, k].T for k in (slice(0, 9), slice(9, 20))]
    assert frechet_distance(mean, parts[0], mean, parts[1]) == pytest.approx(20, rel=1e-9)


@pytest.mark.parametrize(("count", "other"), [(20, 30), (20, 90), (90, 20), (400, 300)])
def test_of_sets(count, other):
    """With more and fewer pictures than the 50 channels, far from 0."""
    photos, results = _features(count, 1) + 1e3, _features(other, 2) + 1e3
    (m1, c1), (m2, c2) = _moments(photos), _moments(results)
    root = scipy.linalg.sqrtm(c1 @ c2)
    expected = ((m1 - m2) ** 2).sum() + np.trace(c1 + c2 - 2 * root.real)
    # SciPy's root of a product of less than full rank has half the digits.
    tolerance = 1e-9 if min(count, other) > 50 else 1e-5
    assert frechet_distance_of_sets(photos, results) == pytest.approx(expected, rel=tolerance)
    assert frechet_distance_of_sets(photos, photos) < 1e-9 * np.trace(c1)


def test_refusals():
    with pytest.raises(ValueError, match="two pictures or more"):
        frechet_distance_of_sets(np.zeros((1, 4)), np.zeros((3, 4)))
    with pytest.raises(ValueError, match=r"features are \[2, 5\] and \[2, 4\]"):
        frechet_distance_of_sets(np.zeros((2, 5)), np.zeros((2, 4)))
    with pytest.raises(ValueError, match="different numbers of channels"):
        frechet_distance([0, 0], np.eye(2), [0, 0, 0], np.eye(3))
