"""The network is the original's: against recordings of it, and against figures written down here.

The recordings (the original network with random weights, run by TensorFlow 1) are large and not
part of the repository; HIFILL_REFERENCE names their folder. The figures below come from this
implementation, after it had been found equal to the recordings.
"""

import json

import numpy as np
import pytest
import tensorflow as tf
from conftest import REFERENCE

import hifill
from hifill import convert, losses

needs_reference = pytest.mark.skipif(
    not (REFERENCE / "network.npz").exists(),
    reason=f"no recordings of the original in {REFERENCE}; HIFILL_REFERENCE names their folder",
)


def _unit(picture_bgr):
    """uint8 BGR [..., 3] -> float32 RGB in [-1, 1]."""
    return picture_bgr[..., ::-1].astype(np.float32) / 127.5 - 1


def _losses(generator, critic, image, mask, epsilon):
    """Every loss term of the released recipe, by name, and the critic's scores and norms."""
    recipe = losses.RECIPES["released"]
    coarse, refined, _ = generator([image * (1 - mask), mask])
    inpainted = losses.composite(refined, image, mask)
    hole, context = losses.reconstruction_losses(image, coarse, refined, mask, recipe)
    wasserstein, penalty = losses.critic_losses(critic, image, inpainted, epsilon, recipe)
    scores = critic(tf.concat([image, inpainted], axis=0))[:, 0]
    adversarial = -tf.reduce_mean(scores[len(image) :])
    total = recipe.adversarial * adversarial + recipe.hole * hole + recipe.context * context
    terms = {
        "l1_loss": hole,
        "ae_loss": context,
        "g_loss": total,
        "d_loss": wasserstein + penalty,
        "gp_loss": penalty,
        "adv_g_raw": adversarial,
        "adv_d_raw": wasserstein,
        "D_real_fake": scores,
        "D_interp": critic(image + epsilon[:, None, None, None] * (inpainted - image))[:, 0],
        "grad_D_interp_norms": losses.gradient_norms(critic, image, inpainted, epsilon),
    }
    return {name: np.array(term) for name, term in terms.items()}


@pytest.fixture(scope="module")
def original():
    """Generator and critic with the recorded weights."""
    with np.load(REFERENCE / "weights.npz") as file:
        variables = {name: file[name].astype(np.float32) for name in file.files}
    generator, critic = hifill.Generator(), hifill.Discriminator(kernel_size=5)
    convert.load_variables(generator, variables)
    convert.load_variables(critic, variables)
    return generator, critic


@needs_reference
def test_network_gives_the_originals_results(original):
    with np.load(REFERENCE / "network.npz") as file:
        recorded = dict(file)
    image = _unit(recorded["image_bgr"])[None]
    mask = recorded["hole"].astype(np.float32)[None, ..., None]
    coarse, refined, attention = original[0]([image * (1 - mask), mask])
    patched = losses.composite(refined, image, mask)[0, ::2, ::2, ::-1]
    np.testing.assert_allclose(coarse[0, ..., ::-1], recorded["coarse"], atol=2e-4)
    np.testing.assert_allclose(refined[0, ..., ::-1], recorded["refined"], atol=2e-4)
    np.testing.assert_allclose(patched, recorded["patched"], atol=2e-4)
    np.testing.assert_allclose(attention[0], recorded["attention"], atol=5e-5)


@needs_reference
def test_losses_are_the_originals(original):
    with np.load(REFERENCE / "losses_input.npz") as file:
        recorded = dict(file)
    image = _unit(recorded["real_bgr"])
    mask = recorded["hole"].astype(np.float32)[None, ..., None]
    terms = _losses(*original, image, mask, recorded["epsilon"])
    expected = json.loads((REFERENCE / "losses.json").read_text())
    assert set(terms) == set(expected)
    for name, term in terms.items():
        np.testing.assert_allclose(term.ravel(), expected[name], rtol=1e-4, err_msg=name)


@pytest.fixture(scope="module")
def batch(picture, hole):
    return picture(2, 128, 128), hole(128, 128)


@pytest.fixture(scope="module")
def results(generator, batch):
    image, mask = batch
    return [result.numpy() for result in generator([image * (1 - mask), mask])]


# (picture, row, column) -> red, green, blue; in the hole, at its rim, outside and in a corner.
COARSE = {
    (0, 24, 30): [-0.138362, 0.227099, -0.114137],
    (1, 36, 41): [0.065968, -0.149293, -0.006818],
    (0, 64, 65): [-0.175021, 0.193320, -0.034358],
    (1, 127, 127): [-0.035082, 0.012200, -0.051231],
}
REFINED = {
    (0, 24, 30): [0.023913, -0.022029, -0.056945],
    (1, 36, 41): [0.021439, -0.014977, -0.057492],
    (0, 22, 78): [0.394763, -0.086853, 0.133111],
    (1, 13, 105): [0.657719, -0.170139, 0.292815],
    (1, 127, 127): [-0.004900, 0.010706, -0.010001],
}
# (picture, row, column, source cell) -> weight; cell 10 touches the hole
ATTENTION = {
    (0, 1, 2, 4): 0.026231,
    (0, 1, 2, 10): 0.000000,
    (0, 4, 5, 37): 0.852364,
    (1, 1, 1, 15): 0.026506,
    (1, 7, 7, 63): 0.208841,
}
LOSSES = {
    "l1_loss": 0.025197,
    "ae_loss": 0.917840,
    "g_loss": 1.131491,
    "d_loss": -0.077638,
    "gp_loss": 0.002181,
    "adv_g_raw": -0.153383,
    "adv_d_raw": -0.079819,
    "D_real_fake": [0.474195, -0.007790, 0.392919, -0.086152],
    "D_interp": [0.448701, -0.075032],
    "grad_D_interp_norms": [1.015116, 1.014415],
}


def test_coarse_figures(results):
    for place, expected in COARSE.items():
        np.testing.assert_allclose(results[0][place], expected, rtol=0, atol=2e-5)


def test_refined_figures(results):
    for place, expected in REFINED.items():
        np.testing.assert_allclose(results[1][place], expected, rtol=0, atol=2e-5)


def test_attention_figures(results):
    for place, expected in ATTENTION.items():
        np.testing.assert_allclose(results[2][place], expected, rtol=0, atol=2e-5)


def test_loss_figures(generator, seed_weights, batch):
    critic = seed_weights(hifill.Discriminator(5, (128, 128)))
    terms = _losses(generator, critic, *batch, np.float32([0.3, 0.8]))
    assert set(terms) == set(LOSSES)
    for name, expected in LOSSES.items():
        np.testing.assert_allclose(terms[name], expected, rtol=1e-4, atol=2e-5, err_msg=name)
