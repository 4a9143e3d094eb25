"""Photos with grain and edges, and the holes that the measures are tried on."""

import cv2
import numpy as np
import pytest


@pytest.fixture(scope="session")
def photo():
    """Returns a function: (height, width, seed=0) -> uint8 [H, W, 3], a textured picture."""

    def draw(height, width, seed=0):
        rng = np.random.default_rng(seed)
        coarse = rng.uniform(60, 180, (height // 24 + 2, width // 24 + 2, 3)).astype(np.float32)
        picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        grain = cv2.GaussianBlur(rng.normal(0, 20, (height, width, 3)), (0, 0), 0.8)
        return np.clip(picture + grain, 20, 220).astype(np.uint8)

    return draw


@pytest.fixture(scope="session")
def disc():
    """Returns a function: (height, width) -> bool [H, W], True in a disc in the middle."""

    def draw(height, width):
        y, x = np.mgrid[:height, :width]
        radius = min(height, width) / 4
        return (y - height / 2) ** 2 + (x - width / 2) ** 2 < radius**2

    return draw
