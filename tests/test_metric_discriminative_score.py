"""P-IDS, U-IDS and their classifier: scikit-learn's figures, optimality, limits."""

import numpy as np
import pytest

from hifill.evaluation.discriminative_score import discriminative_scores, linear_svm


def _pair(count, channels, shift):
    rng = np.random.default_rng(count)
    photos = np.abs(rng.standard_normal((count, channels)))
    results = np.abs(photos + 0.5 * rng.standard_normal((count, channels)) + shift)
    return photos, results


# Of scikit-learn 1.9.1: LinearSVC(dual=False, tol=1e-10, max_iter=100000), equal for the default
# tolerance; P-IDS = mean(decision(results) > decision(photos)), U-IDS = 1 - score.
@pytest.mark.parametrize(
    ("count", "channels", "shift", "p_ids", "u_ids"),
    [
        (300, 12, 0.3, 0.013333333333333334, 0.18166666666666664),
        (500, 40, 0.1, 0.014, 0.208),
        (2000, 200, 0.05, 0.0005, 0.0645),
        (60, 100, 0.1, 0.0, 0.0),
    ],
)
def test_equal_to_scikit_learn(count, channels, shift, p_ids, u_ids):
    scores = discriminative_scores(*_pair(count, channels, shift))
    assert scores == pytest.approx((p_ids, u_ids), abs=1e-12)


@pytest.mark.parametrize(("count", "channels"), [(200, 9), (20, 90)])
def test_the_classifier_is_optimal(count, channels):
    """The gradient of the objective, and two steps away from it in every direction."""
    features = np.concatenate(_pair(count, channels, 0.2))
    signs = np.repeat([1.0, -1.0], count)
    weight, intercept = linear_svm(features, signs)
    parameters = np.append(weight, intercept)

    def objective(parameters):
        slack = np.maximum(0, 1 - signs * (features @ parameters[:-1] + parameters[-1]))
        return parameters @ parameters / 2 + slack @ slack

    best = objective(parameters)
    for i in range(len(parameters)):
        step = 1e-3 * (np.arange(len(parameters)) == i)
        up, down = objective(parameters + step), objective(parameters - step)
        assert min(up, down) > best
        assert up - down == pytest.approx(0, abs=1e-5 * best)


def test_by_hand():
    """One feature, -1 and 1, twice: by symmetry b = 0, and w minimises w^2/2 + 4 (1 - w)^2."""
    weight, intercept = linear_svm(np.float64([[1], [1], [-1], [-1]]), np.float64([1, 1, -1, -1]))
    assert weight[0] == pytest.approx(8 / 9, rel=1e-7) and intercept == pytest.approx(0, abs=1e-7)


def test_limits():
    """Results that are the photos; results of the same distribution; results far away."""
    photos, _ = _pair(2000, 5, 0)
    assert discriminative_scores(photos, photos) == (0, 0.5)
    others = np.random.default_rng(0).permutation(photos)
    assert discriminative_scores(photos, others)[1] == pytest.approx(0.5, abs=0.02)
    fresh = np.abs(np.random.default_rng(1).standard_normal((2000, 5)))
    assert discriminative_scores(photos, fresh) == pytest.approx((0.5, 0.5), abs=0.06)
    assert discriminative_scores(photos, photos + 9) == (0, 0)


def test_better_results_score_higher():
    scores = np.array([discriminative_scores(*_pair(800, 10, shift)) for shift in (0.4, 0.1, 0.0)])
    assert np.all(np.diff(scores, axis=0) > 0.01)


def test_shapes():
    with pytest.raises(ValueError, match=r"photos and results are \[3, 4\] and \[3, 5\]"):
        discriminative_scores(np.zeros((3, 4)), np.zeros((3, 5)))
