"""The Frechet distance of two sets of features: FID, if the features are Inception's."""

import numpy as np


class Moments:
    """Mean and covariance of features that come in batches, in float64.

    Two passes' accuracy in one: every batch is centred by itself and then merged, after Chan, Golub
    and LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances".

    Attributes:
        count: how many feature vectors were added.
        mean: float64 [C].
    """

    def __init__(self, channels):
        self.count = 0
        self.mean = np.zeros(channels)
        self._scatter = np.zeros((channels, channels))

    def add(self, features):
        """Adds a batch, [N, C]."""
        features = np.asarray(features, np.float64)
        if features.ndim != 2 or features.shape[1] != len(self.mean):
            raise ValueError(f"features are {list(features.shape)}, not [N, {len(self.mean)}]")
        if len(features) == 0:
            return
        total = self.count + len(features)
        mean = features.mean(0)
        centred = features - mean
        shift = mean - self.mean
        self._scatter += centred.T @ centred
        self._scatter += np.outer(shift, shift) * (self.count * len(features) / total)
        self.mean = self.mean + shift * (len(features) / total)
        self.count = total

    @property
    def covariance(self):
        """float64 [C, C], divided by count - 1.

        Raises:
            ValueError: with fewer than two feature vectors.
        """
        if self.count < 2:
            raise ValueError(f"a covariance needs two pictures or more, not {self.count}")
        return self._scatter / (self.count - 1)


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
