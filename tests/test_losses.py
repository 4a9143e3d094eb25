"""Loss terms against their formulas in NumPy, and against critics with known gradients."""

import numpy as np
import pytest
import tensorflow as tf

import hifill
from hifill import losses


@pytest.fixture(scope="module")
def batch():
    """image, coarse, refined of random numbers, and one mask for both."""
    rng = np.random.default_rng(0)
    image, coarse, refined = rng.uniform(-1, 1, (3, 2, 8, 12, 3)).astype(np.float32)
    mask = (rng.uniform(size=(1, 8, 12, 1)) < 0.3).astype(np.float32)
    return image, coarse, refined, mask


def test_recipes_have_the_published_weights():
    paper, released = losses.RECIPES["paper"], losses.RECIPES["released"]
    assert (paper.hole, paper.context, paper.coarse, paper.adversarial) == (1, 1.2, 1, 1e-4)
    assert (released.hole, released.context, released.coarse) == (1.2, 1.2, 1.2)
    assert (released.adversarial, released.gradient_penalty) == (1e-3, 10)
    assert released.normalise_context and not paper.normalise_context


def test_composite_takes_the_hole_from_the_first(batch):
    image, _, refined, mask = batch
    pasted = losses.composite(refined, image, mask)
    chosen = np.broadcast_to(mask, image.shape) == 1
    np.testing.assert_array_equal(pasted, np.where(chosen, refined, image))


def test_released_reconstruction_losses(batch):
    image, coarse, refined, mask = batch
    hole, context = losses.reconstruction_losses(
        image, coarse, refined, mask, losses.RECIPES["released"]
    )
    coarse_error, refined_error = np.abs(image - coarse), np.abs(image - refined)
    known = 1 - mask
    assert float(hole) == pytest.approx(
        1.2 * np.mean(coarse_error * mask) + np.mean(refined_error * mask), rel=1e-5
    )
    assert float(context) == pytest.approx(
        (1.2 * np.mean(coarse_error * known) + np.mean(refined_error * known)) / np.mean(known),
        rel=1e-5,
    )


def test_paper_reconstruction_losses(batch):
    image, coarse, refined, mask = batch
    hole, context = losses.reconstruction_losses(
        image, coarse, refined, mask, losses.RECIPES["paper"]
    )
    errors = np.abs(image - coarse) + np.abs(image - refined)
    assert float(hole) == pytest.approx(np.sum(errors * mask) / errors.size, rel=1e-5)
    assert float(context) == pytest.approx(np.sum(errors * (1 - mask)) / errors.size, rel=1e-5)


def test_one_mask_counts_like_the_same_mask_twice(batch):
    image, coarse, refined, mask = batch
    for recipe in losses.RECIPES.values():
        np.testing.assert_allclose(
            losses.reconstruction_losses(image, coarse, refined, mask, recipe),
            losses.reconstruction_losses(image, coarse, refined, np.repeat(mask, 2, 0), recipe),
            rtol=1e-6,
        )


def test_a_picture_off_in_colour_costs_nothing_in_a_hole_whose_rim_is_met():
    recipe = losses.LossRecipe(meet_rim=True)
    image = np.random.default_rng(0).uniform(-1, 1, (2, 16, 32, 3)).astype(np.float32)
    mask = np.zeros((2, 16, 32, 1), np.float32)
    mask[:, 4:12, 8:20] = 1
    hole, context = losses.reconstruction_losses(image, image + 0.5, image - 0.25, mask, recipe)
    assert float(hole) == pytest.approx(0, abs=1e-6)
    assert float(context) == pytest.approx(0.75 * np.mean(1 - mask), rel=1e-5)
    # What the picture lacks is a line within the hole, of which the rim knows nothing.
    bent = image.copy()
    bent[:, 8, 10:18] += 1
    hole, _ = losses.reconstruction_losses(image, bent, bent, mask, recipe)
    assert float(hole) == pytest.approx(2 * 8 / (16 * 32), rel=1e-4)
    inpainted = losses.fill(bent, image, mask, recipe)
    np.testing.assert_allclose(inpainted, bent, atol=1e-6)


def test_perfect_pictures_cost_nothing(batch):
    image, *_, mask = batch
    for recipe in losses.RECIPES.values():
        hole, context = losses.reconstruction_losses(image, image, image, mask, recipe)
        assert float(hole) == float(context) == 0


def _linear_critic(weights):
    return lambda x: tf.reduce_sum(x * weights, axis=[1, 2, 3])[:, None]


def test_gradient_norm_of_a_linear_critic_is_that_of_its_weights(batch):
    image, _, refined, _ = batch
    weights = np.random.default_rng(1).standard_normal(image.shape[1:]).astype(np.float32)
    norms = losses.gradient_norms(_linear_critic(weights), image, refined, np.float32([0, 0.7]))
    assert norms.shape == (2,)
    np.testing.assert_allclose(norms, [np.linalg.norm(weights)] * 2, rtol=1e-5)


def test_gradients_are_taken_between_the_pictures(batch):
    image, _, refined, _ = batch

    def half_square(x):  # its gradient is x itself
        return 0.5 * tf.reduce_sum(x * x, axis=[1, 2, 3])[:, None]

    for epsilon in ([0, 1], [0.25, 0.5]):
        epsilon = np.float32(epsilon)
        norms = losses.gradient_norms(half_square, image, refined, epsilon)
        between = [(1 - e) * a + e * b for a, b, e in zip(image, refined, epsilon, strict=True)]
        np.testing.assert_allclose(norms, [np.linalg.norm(x) for x in between], rtol=1e-5)


def test_critic_losses_of_a_linear_critic(batch):
    image, _, refined, _ = batch
    weights = np.random.default_rng(1).standard_normal(image.shape[1:]).astype(np.float32) / 10
    recipe = losses.LossRecipe(gradient_penalty=3.0)
    wasserstein, penalty = losses.critic_losses(
        _linear_critic(weights), image, refined, np.float32([0.2, 0.9]), recipe
    )
    gaps = np.sum((refined - image) * weights, axis=(1, 2, 3))
    assert float(wasserstein) == pytest.approx(gaps.mean(), rel=1e-4, abs=1e-5)
    assert float(penalty) == pytest.approx(3 * (np.linalg.norm(weights) - 1) ** 2, rel=1e-4)


def test_flat_critic_has_a_finite_penalty_and_gradient(batch):
    image, _, refined, _ = batch
    weights = tf.Variable(np.zeros(image.shape[1:], np.float32))
    with tf.GradientTape() as tape:
        _, penalty = losses.critic_losses(
            _linear_critic(weights), image, refined, np.float32([0.2, 0.9]), losses.LossRecipe()
        )
    assert float(penalty) == pytest.approx(10, rel=1e-4)
    assert np.all(np.isfinite(tape.gradient(penalty, weights)))


@pytest.mark.parametrize("kernel_size", [3, 5])
def test_gradient_norm_of_the_critic_agrees_with_a_finite_difference(
    kernel_size, seed_weights, picture
):
    critic = seed_weights(hifill.Discriminator(kernel_size, (64, 64), dtype="float64"))
    critic.linear.dtype_policy = "float64"
    image, inpainted = picture(2, 64, 64)[:, None].astype(np.float64)
    norm = float(losses.gradient_norms(critic, image, inpainted, np.array([0.3]))[0])
    between = image + 0.3 * (inpainted - image)
    with tf.GradientTape() as tape:
        x = tf.constant(between)
        tape.watch(x)
        score = critic(x)
    direction = tape.gradient(score, x).numpy()
    direction /= np.linalg.norm(direction)
    rise = critic(between + 1e-4 * direction) - critic(between - 1e-4 * direction)
    assert norm > 0.01
    assert norm == pytest.approx(float(rise[0, 0]) / 2e-4, rel=1e-3)


def test_penalty_trains_the_critic_under_xla(seed_weights, picture):
    critic = seed_weights(hifill.Discriminator(3, (64, 64)))
    image, inpainted = picture(2, 64, 64), picture(4, 64, 64)[2:]
    epsilon = tf.constant([0.3, 0.8])

    def penalty_and_gradients():
        with tf.GradientTape() as tape:
            _, penalty = losses.critic_losses(
                critic, image, inpainted, epsilon, losses.LossRecipe()
            )
        kernels = [getattr(critic, f"conv{i}").kernel.value for i in range(1, 7)]
        return [penalty, *tape.gradient(penalty, kernels)]

    eager = penalty_and_gradients()
    for compiled, expected in zip(
        tf.function(penalty_and_gradients, jit_compile=True)(), eager, strict=True
    ):
        scale = np.abs(expected).max()
        assert scale > 0
        np.testing.assert_allclose(compiled, expected, atol=1e-4 * scale)
