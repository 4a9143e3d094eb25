"""The Frechet distance against closed forms and SciPy, moments against NumPy."""

import numpy as np
import pytest
import scipy.linalg

from hifill.evaluation.frechet_distance import Moments, frechet_distance


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


@pytest.mark.parametrize("sizes", [(1, 1, 198), (200,), (67, 0, 133)])
def test_moments_in_batches(sizes):
    """The mean is far from 0, which would cost a sum of squares its digits."""
    features = np.random.default_rng(0).standard_normal((200, 7)) + 1e6
    moments = Moments(7)
    for batch in np.split(features, np.cumsum(sizes)[:-1]):
        moments.add(batch)
    assert moments.count == 200
    np.testing.assert_allclose(moments.mean, features.mean(0), rtol=1e-14)
    expected = np.cov(features, rowvar=False)
    np.testing.assert_allclose(moments.covariance, expected, rtol=1e-9, atol=1e-9)


def test_refusals():
    moments = Moments(4)
    moments.add(np.zeros((1, 4)))
    with pytest.raises(ValueError, match="two pictures or more, not 1"):
        _ = moments.covariance
    with pytest.raises(ValueError, match=r"features are \[2, 5\], not \[N, 4\]"):
        moments.add(np.zeros((2, 5)))
    with pytest.raises(ValueError, match="different numbers of channels"):
        frechet_distance([0, 0], np.eye(2), [0, 0, 0], np.eye(3))
