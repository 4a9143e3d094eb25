"""Inception Score: are single pictures clearly something, and all of them together many things?"""

import itertools

import numpy as np


def inception_score(probabilities, splits=10):
    """exp of the mean KL divergence of a picture's classes from those of all pictures.

        IS = exp(mean over x of sum over y of p(y|x) log(p(y|x) / mean over x of p(y|x)))

    1 to the number of classes; higher is better. It never looks at the photos: a composited result
    has most of its score from the photo around the hole.

    Source: Salimans, Goodfellow, Zaremba, Cheung, Radford and Chen 2016, "Improved techniques for
    training GANs", section 4, and its code: ten splits in the order given, of 50,000 pictures. The
    score grows with the number of pictures in a split: state both.

    Args:
        probabilities: [N, classes], rows that add up to 1. For the published score, those of
            `inception_features.InceptionFeatures` with the 2015 graph.
        splits: how many consecutive parts of equal size (give or take one) are scored.

    Returns:
        (mean, standard deviation) over the splits, the latter divided by their number.

    Raises:
        ValueError: if there are fewer pictures than splits, or these are no probabilities.
    """
    probabilities = np.asarray(probabilities, np.float64)
    count = len(probabilities)
    if probabilities.ndim != 2 or not 1 <= splits <= count:
        raise ValueError(f"{splits} splits of probabilities {list(probabilities.shape)}")
    if (probabilities < 0).any() or not np.allclose(probabilities.sum(1), 1, atol=1e-4):
        raise ValueError("rows are not probabilities: they are negative or do not add up to 1")
    edges = [i * count // splits for i in range(splits + 1)]
    scores = [_score(probabilities[a:b]) for a, b in itertools.pairwise(edges)]
    return float(np.mean(scores)), float(np.std(scores))


def _score(probabilities):
    marginal = probabilities.mean(0)
    # A class of probability 0 adds nothing: p log p goes to 0 with p.
    ratio = np.divide(
        probabilities, marginal, out=np.ones_like(probabilities), where=probabilities > 0
    )
    return np.exp((probabilities * np.log(ratio)).sum(1).mean())
