"""The weights in the package: those of their card, and better than a classical filling."""

import hashlib
import pathlib

import cv2
import numpy as np
import pytest

import hifill
from hifill import Inpainter
from hifill.evaluation.l1 import hole_l1_grey_levels
from hifill.evaluation.protocol import read_photo
from hifill.evaluation.sharpness import sharpness_ratio
from hifill.mask_mix import MaskMix
from hifill.silhouettes import generated_templates
from hifill.weights import SHIPPED

DEMO = pathlib.Path(hifill.__file__).parent / "demo_photos"
PHOTOS = ("dunes", "colosseum", "launch")
HOLES = 6


def test_the_file_is_the_one_that_the_card_describes():
    card = (SHIPPED.parent / "README.md").read_text()
    assert hashlib.sha256(SHIPPED.read_bytes()).hexdigest() in card


@pytest.fixture(scope="module")
def measured():
    """Hole L1 and sharpness, ours and Telea's: [photo, hole, method, measure]."""
    inpainter = Inpainter()
    templates = tuple(generated_templates(np.random.default_rng(0)))
    masks = MaskMix(templates=templates, min_share=0.02)
    rows = []
    for name in PHOTOS:
        photo = read_photo(DEMO / f"{name}.jpg", "512")
        for seed in range(HOLES):
            hole = masks.draw(np.random.default_rng(seed), 512, 512)[..., 0] > 0
            blanked = np.where(hole[..., None], np.uint8(0), photo)
            classical = cv2.inpaint(blanked, hole.astype(np.uint8), 3, cv2.INPAINT_TELEA)
            for fill in (inpainter(blanked, hole), classical):
                rows.append(
                    [hole_l1_grey_levels(photo, hole, fill), sharpness_ratio(photo, hole, fill)]
                )
    return np.reshape(rows, (len(PHOTOS), HOLES, 2, 2))


def test_nearer_to_the_photo_than_telea(measured):
    ours, telea = measured[..., 0].mean(axis=(0, 1))
    assert ours < 0.96 * telea


@pytest.mark.parametrize("photo", range(len(PHOTOS)), ids=PHOTOS)
def test_sharper_than_telea(measured, photo):
    ours, telea = np.median(measured[photo, ..., 1], axis=0)
    assert 1.2 * telea < ours < 1.2
