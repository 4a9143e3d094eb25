"""The Frechet distance of two sets of features: FID, if the features are Inception's."""

import numpy as np


def frechet_distance_of_sets(photos, results):
    """The Frechet distance of the normal distributions of two sets of features.

    Args:
        photos, results: [N, C] and [M, C], of two pictures or more each.

    Returns:
        Float, see `frechet_distance`; with fewer pictures than channels the same by way of matrices
        of N x M.

    Raises:
        ValueError: if a set has fewer pictures, or other channels.
    """
    photos, results = (np.asarray(features, np.float64) for features in (photos, results))
    if photos.ndim != 2 or results.ndim != 2 or photos.shape[1] != results.shape[1]:
        shapes = f"{list(photos.shape)} and {list(results.shape)}"
        raise ValueError(f"features are {shapes}, not [N, C] and [M, C]")
    if min(len(photos), len(results)) < 2:
        raise ValueError("a covariance needs two pictures or more")
    if max(len(photos), len(results)) >= photos.shape[1]:
        (mean1, cov1), (mean2, cov2) = (
            (features.mean(0), np.cov(features, rowvar=False)) for features in (photos, results)
        )
        return frechet_distance(mean1, cov1, mean2, cov2)
    # With cov = a' a, the trace of the root is the sum of the singular values of a1 a2'.
    (mean1, a1), (mean2, a2) = (
        (f.mean(0), (f - f.mean(0)) / np.sqrt(len(f) - 1)) for f in (photos, results)
    )
    root = np.linalg.svd(a1 @ a2.T, compute_uv=False).sum()
    difference = mean1 - mean2
    distance = difference @ difference + np.square(a1).sum() + np.square(a2).sum() - 2 * root
    return float(max(distance, 0.0))


def frechet_distance(mean1, cov1, mean2, cov2):
    """|mean1 - mean2|^2 + trace(cov1 + cov2 - 2 (cov1 cov2)^(1/2)).

    The squared 2-Wasserstein distance of two normal distributions: 0 upwards, symmetric, 0 if and
    only if they are equal; lower is better. Estimated from N pictures it is too large, by an amount
    that falls as 1/N and differs between methods: state N, and compare at the same N only (Chong
    and Forsyth 2020, "Effectively unbiased FID and Inception Score and where to find them").
    Features with fewer pictures than channels are no obstacle to the arithmetic.

    The trace of the root is computed as the sum of the singular values of cov1^(1/2) cov2^(1/2),
    real and stable where the square root of the product is neither.

    Source: Heusel, Ramsauer, Unterthiner, Nessler and Hochreiter 2017, "GANs trained by a two
    time-scale update rule converge to a local Nash equilibrium", equation 6.

    Args:
        mean1, mean2: [C].
        cov1, cov2: [C, C], symmetric.

    Returns:
        Float. FID only if the features are those of `inception_features.InceptionFeatures` with the
        2015 graph, which says so itself.
    """
    mean1, cov1, mean2, cov2 = (np.asarray(a, np.float64) for a in (mean1, cov1, mean2, cov2))
    if not (mean1.shape == mean2.shape and cov1.shape == cov2.shape == mean1.shape * 2):
        raise ValueError("means and covariances are of different numbers of channels")
    root = np.linalg.svd(_square_root(cov1) @ _square_root(cov2), compute_uv=False).sum()
    difference = mean1 - mean2
    distance = difference @ difference + np.trace(cov1) + np.trace(cov2) - 2 * root
    return float(max(distance, 0.0))


def _square_root(covariance):
    values, vectors = np.linalg.eigh(covariance)
    # Rounding makes eigenvalues that are 0 negative, or positive with a root that would count.
    noise = len(values) * np.finfo(float).eps * values[-1]
    return vectors * np.sqrt(np.where(values > noise, values, 0)) @ vectors.T
