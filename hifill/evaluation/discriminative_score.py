"""P-IDS and U-IDS: how often a linear classifier of features takes fills for photos."""

import numpy as np

_C = 1.0
_TOLERANCE = 1e-8
_MAX_STEPS = 200


def discriminative_scores(photo_features, result_features):
    """Paired and unpaired Inception discriminative scores.

    A linear SVM is fitted to tell the two sets apart, and asked about the same pictures:

        P-IDS = share of pairs whose result lies further on the photos' side than its photo does
        U-IDS = share of all pictures that it gets wrong

    Fractions, of which papers print percent: P-IDS 0 to 1, about 0.5 for results that cannot be
    told apart, U-IDS 0 to 0.5; higher is better. A result equal to its photo is no win. The
    classifier is asked about what it was fitted to: with few pictures for the number of channels it
    separates any two sets, and both scores are too low. State the number of pictures.

    Source: Zhao, Cui, Sheng, Dong, Liang, Chang and Xu 2021, "Large scale image completion via
    co-modulated generative adversarial networks", section 4, and its code: the SVM is that of
    scikit-learn's LinearSVC(dual=False), here solved to the optimum.

    Args:
        photo_features, result_features: [N, C] in the same order, those of Inception (see
            `inception_features`) for the published scores.

    Returns:
        (p_ids, u_ids), floats.
    """
    photo_features, result_features = (
        np.asarray(features, np.float64) for features in (photo_features, result_features)
    )
    if photo_features.shape != result_features.shape or photo_features.ndim != 2:
        shapes = f"{list(photo_features.shape)} and {list(result_features.shape)}"
        raise ValueError(f"features of photos and results are {shapes}, not both [N, C]")
    features = np.concatenate([photo_features, result_features])
    signs = np.repeat([1.0, -1.0], len(photo_features))
    weight, intercept = linear_svm(features, signs)
    photos, results = photo_features @ weight, result_features @ weight
    wrong = (photos + intercept <= 0).sum() + (results + intercept > 0).sum()
    return float(np.mean(results > photos)), float(wrong / len(features))


def linear_svm(features, signs):
    """The minimum of |w|^2 / 2 + b^2 / 2 + C sum max(0, 1 - sign (w x + b))^2 with C = 1.

    Strongly convex, so that the minimum is unique and nothing depends on chance. Newton's method
    on the squared hinge, exact up to the set of samples within the margin, with halved steps:
    Keerthi and DeCoste 2005, "A modified finite Newton method for fast solution of large scale
    linear SVMs".

    Args:
        features: float64 [N, C].
        signs: [N], 1 or -1.

    Returns:
        (w [C], b).
    """
    rows = np.concatenate([features, np.ones((len(features), 1))], 1) * signs[:, None]
    weight = np.zeros(rows.shape[1])
    slack = np.ones(len(rows))  # 1 - rows @ weight
    first_norm = None
    for _ in range(_MAX_STEPS):
        active = rows[slack > 0]
        gradient = weight - 2 * _C * active.T @ slack[slack > 0]
        norm = np.linalg.norm(gradient)
        first_norm = first_norm or norm
        if norm <= _TOLERANCE * first_norm:
            break
        step = -_solved(active, gradient)
        change = rows @ step
        size, value = 1.0, _objective(weight, slack)
        while size > 1e-10:
            new = _objective(weight + size * step, slack - size * change)
            if new <= value + 1e-4 * size * (gradient @ step):
                break
            size /= 2
        else:
            break  # rounding is all that is left
        weight = weight + size * step
        slack = slack - size * change
    return weight[:-1], weight[-1]


def _objective(weight, slack):
    return weight @ weight / 2 + _C * np.square(np.maximum(slack, 0)).sum()


def _solved(active, gradient):
    """(I + 2 C active' active)^-1 gradient, by the smaller of the two possible matrices."""
    count, channels = active.shape
    if count >= channels:
        return np.linalg.solve(np.eye(channels) + 2 * _C * active.T @ active, gradient)
    inner = np.eye(count) / (2 * _C) + active @ active.T
    return gradient - active.T @ np.linalg.solve(inner, active @ gradient)
