"""The weights in the package: those of their card, and better than a classical filling."""

import hashlib
import pathlib

import cv2
import numpy as np
import pytest

from hifill import Inpainter
from hifill.evaluation.l1 import hole_l1_grey_levels
from hifill.evaluation.protocol import read_photo
from hifill.mask_mix import MaskMix
from hifill.silhouettes import generated_templates
from hifill.weights import SHIPPED

DEMO = pathlib.Path(__file__).resolve().parents[1] / "docs" / "demo"
HOLES = 4


def test_the_file_is_the_one_that_the_card_describes():
    card = (SHIPPED.parent / "README.md").read_text()
    assert hashlib.sha256(SHIPPED.read_bytes()).hexdigest() in card


@pytest.fixture(scope="module")
def inpainter():
    return Inpainter()


@pytest.fixture(scope="module")
def masks():
    """`MaskMix` of strokes and object shapes that cover 10 to 40 %."""
    templates = generated_templates(np.random.default_rng(0))
    return MaskMix(templates=tuple(templates), min_share=0.1, max_share=0.4)


@pytest.mark.parametrize("name", ["dunes", "colosseum", "launch"])
def test_better_than_telea(name, inpainter, masks):
    photo = read_photo(DEMO / f"{name}.jpg", "512")
    errors = []
    for seed in range(HOLES):
        hole = masks.draw(np.random.default_rng(seed), 512, 512)[..., 0] > 0
        ours = inpainter(np.where(hole[..., None], np.uint8(0), photo), hole)
        classical = cv2.inpaint(photo, hole.astype(np.uint8), 3, cv2.INPAINT_TELEA)
        errors.append([hole_l1_grey_levels(photo, hole, fill) for fill in (ours, classical)])
    mean_of_ours, mean_of_telea = np.mean(errors, axis=0)
    assert mean_of_ours < 0.95 * mean_of_telea
