"""The training step: what it updates, what it measures, and that each way of running it agrees."""

import pathlib

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from hifill import Discriminator, Generator, losses, training_step

LAUNCH = pathlib.Path(__file__).resolve().parents[1] / "hifill" / "demo_photos" / "launch.jpg"
SIZE = 64


def new_step(critic=True, recipe=losses.RECIPES["paper"], dtype="float32", **settings):
    """A step with the same weights every time."""
    keras.utils.set_random_seed(0)
    generator = Generator(
        kernel_initializer=training_step.kernel_initializer("variance_preserving"), dtype=dtype
    )
    discriminator = None
    if critic:
        discriminator = Discriminator(
            3,
            (SIZE, SIZE),
            spectral_normalisation=recipe.hinge,
            head="patch" if recipe.hinge else "dense",
            dtype=dtype,
        )
    return training_step.TrainingStep(generator, discriminator, recipe, **settings)


@pytest.fixture(scope="module")
def uint8_batch():
    """Four crops of a photo, and a hole of its own for each; epsilon."""
    launch = cv2.imread(str(LAUNCH))[..., ::-1]
    places = [(200, 60), (240, 300), (120, 180), (300, 420)]
    images = np.stack([launch[y : y + SIZE, x : x + SIZE] for y, x in places])
    masks = np.zeros((4, SIZE, SIZE, 1), np.uint8)
    masks[0, 10:30, 20:50] = 1
    masks[1, 40:, :16] = 1
    masks[2, 5:60, 30:40] = 1
    masks[3, 25:33, 25:33] = 1
    return images, masks, np.array([0.25, 0.75, 0.1, 0.6], np.float32)


@pytest.fixture(scope="module")
def batch(uint8_batch):
    """The first two of them, as the networks take them."""
    images, masks, epsilon = (array[:2] for array in uint8_batch)
    return (
        tf.constant(images / 127.5 - 1, tf.float32),
        tf.constant(masks, tf.float32),
        tf.constant(epsilon),
    )


@pytest.fixture(scope="module")
def step():
    """For gradients alone: not to be changed by a test."""
    return new_step()


@pytest.fixture(scope="module")
def gradients(step, batch):
    """(gradients, metrics) of the critic and of the generator, in float32, of the whole batch."""
    return step.critic_gradients(*batch), step.generator_gradients(*batch[:2])


def values(network):
    return [variable.numpy() for variable in network.variables]


def changed(before, network):
    """Names of the variables with other values than before."""
    return {
        variable.path
        for old, variable in zip(before, network.variables, strict=True)
        if not np.array_equal(old, variable.numpy())
    }


def last_names(paths):
    return {"/".join(path.split("/")[-2:]) for path in paths}


def joined(arrays):
    return np.concatenate([np.ravel(array) for array in arrays]).astype(np.float64)


def cosine(a, b):
    a, b = joined(a), joined(b)
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


def assert_same_gradients(actual, expected, tolerance):
    difference = np.linalg.norm(joined(actual) - joined(expected))
    assert difference <= tolerance * np.linalg.norm(joined(expected))


def assert_same_metrics(actual, expected, **tolerance):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name], value, err_msg=name, **tolerance)


def assert_same_weights(actual, expected):
    """As same as they can be: where a gradient is nearly 0, Adam makes much of a rounding error."""
    difference = np.abs(joined(values(actual)) - joined(values(expected)))
    assert np.mean(difference > 1e-6) < 1e-3


def first_gradients(optimizer):
    """The gradients of Adam's first step, half of which are then its moments (beta_1 is 0.5)."""
    moments = [v.numpy() for v in optimizer.variables if v.path.endswith("momentum")]
    assert moments
    return [2 * moment for moment in moments]


def inpainted(step, images, masks):
    _, refined, _ = step.generator([images * (1 - masks), masks])
    return losses.composite(refined, images, masks)


def test_each_step_updates_its_own_network(batch):
    step = new_step()
    generator, critic = values(step.generator), values(step.discriminator)
    metrics = step.critic_step(*batch)
    assert not changed(generator, step.generator)
    # The bias of the score has no gradient: it is the same for real and inpainted pictures.
    unchanged = {v.path for v in step.discriminator.variables} - changed(critic, step.discriminator)
    assert last_names(unchanged) == {"linear/bias"}
    assert metrics.keys() == {
        "loss/critic",
        "wasserstein_estimate",
        "loss/gradient_penalty",
        "gradient_norm/critic",
    }
    critic = values(step.discriminator)
    metrics.update(step.generator_step(*batch[:2]))
    assert not changed(critic, step.discriminator)
    assert len(changed(generator, step.generator)) > 0.95 * len(generator)
    for name, value in metrics.items():
        assert np.isfinite(value), name


def test_an_iteration_is_the_critic_steps_and_then_the_generator_step(uint8_batch):
    pictures = [np.stack([array[:1], array[1:2], array[2:3]]) for array in uint8_batch]
    whole, parts = new_step(), new_step()
    metrics = whole.iteration(*map(tf.constant, pictures))

    images, masks, epsilon = pictures
    images, masks = np.float32(images / 127.5 - 1), np.float32(masks)
    history = [
        parts.critic_step(*map(tf.constant, (images[i], masks[i], epsilon[i]))) for i in range(2)
    ]
    expected = {name: np.mean([m[name] for m in history]) for name in history[0]}
    expected.update(parts.generator_step(tf.constant(images[2]), tf.constant(masks[2])))
    assert_same_metrics(metrics, expected, rtol=1e-4, atol=1e-6)
    for name in ("generator", "discriminator"):
        assert_same_weights(getattr(whole, name), getattr(parts, name))


def test_an_iteration_without_critic_steps_is_the_generator_step(uint8_batch, batch):
    images, masks, epsilon = (tf.constant(array[None, :2]) for array in uint8_batch)
    step = new_step(critic=False, coarse_only=True)
    expected = step.generator_gradients(*batch[:2])[1]
    metrics = step.iteration(images, masks, epsilon)
    assert metrics.pop("gradient_norm/generator") > 0
    assert_same_metrics(metrics, expected, rtol=1e-4)


@pytest.mark.slow
def test_the_coarse_network_is_trained_alone(batch):
    step = new_step(critic=False, coarse_only=True)
    networks = step.generator.coarse_network, step.generator.refine_network
    before = [values(network) for network in networks]
    step.generator_step(*batch[:2])
    assert len(changed(before[0], networks[0])) > 0.9 * len(before[0])
    assert not changed(before[1], networks[1])
    with pytest.raises(ValueError, match="no critic steps"):
        new_step(coarse_only=True)


@pytest.mark.slow
@pytest.mark.parametrize("generator", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_xla_takes_the_same_critic_step(batch, generator):
    """With a generator too, or without one, of which XLA has most to compile."""
    compiled, plain = new_step(), new_step()
    if not generator:
        compiled.generate = plain.generate = lambda masked, masks: (masked, masked, None)
    critic_step = tf.function(compiled.critic_step, jit_compile=True, autograph=False)
    assert_same_metrics(critic_step(*batch), plain.critic_step(*batch), rtol=1e-3)
    gradients = [first_gradients(s.discriminator_optimizer) for s in (compiled, plain)]
    assert_same_gradients(*gradients, tolerance=1e-4)
    assert_same_weights(compiled.discriminator, plain.discriminator)


@pytest.mark.slow
def test_xla_computes_the_same_generator_gradients(step, batch, gradients):
    # Without the optimizer, which XLA takes longest to compile and which the critic has too.
    compiled = tf.function(step.generator_gradients, jit_compile=True, autograph=False)
    actual, metrics = compiled(*batch[:2])
    assert_same_gradients(actual, gradients[1][0], tolerance=1e-4)
    assert_same_metrics(metrics, gradients[1][1], rtol=1e-4)


@pytest.mark.parametrize("recipe", ["paper", "released"])
def test_accumulated_gradients_are_those_of_the_whole_batch(batch, recipe):
    step = new_step(recipe=losses.RECIPES[recipe], accumulate=2)
    gradients, expected = step.critic_gradients(*batch)
    metrics = step.critic_step(*batch)
    assert_same_gradients(first_gradients(step.discriminator_optimizer), gradients, 1e-5)
    metrics.pop("gradient_norm/critic")
    assert_same_metrics(metrics, expected, rtol=1e-4, atol=1e-6)

    gradients, expected = step.generator_gradients(*batch[:2])
    metrics = step.generator_step(*batch[:2])
    assert_same_gradients(first_gradients(step.generator_optimizer), gradients, 1e-5)
    for name, value in expected.items():
        # Grey levels are means over holes, which the parts have not equally large.
        if not name.endswith("grey_levels"):
            np.testing.assert_allclose(metrics[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_accumulation_is_the_same_in_a_compiled_step(batch, gradients):
    step = new_step(accumulate=2)
    tf.function(step.critic_step, autograph=False)(*batch)
    assert_same_gradients(first_gradients(step.discriminator_optimizer), gradients[0][0], 1e-5)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_with_close_gradients(batch, gradients, dtype):
    step = new_step(dtype=dtype)
    before = values(step.generator), values(step.discriminator)
    metrics = [step.critic_step(*batch), step.generator_step(*batch[:2])]
    optimizers = step.discriminator_optimizer, step.generator_optimizer
    for name, optimizer, actual, (expected, expected_metrics) in zip(
        ("critic", "generator"), optimizers, metrics, gradients, strict=True
    ):
        assert cosine(first_gradients(optimizer), expected) > 0.99
        norm = np.linalg.norm(joined(expected))
        assert float(actual.pop(f"gradient_norm/{name}")) == pytest.approx(norm, rel=0.03)
        for metric, value in expected_metrics.items():
            if metric == "loss/adversarial":
                # The critic has taken a step before. The weight is 1e-4, and the gradients close.
                assert np.isfinite(actual[metric])
            else:
                np.testing.assert_allclose(actual[metric], value, rtol=0.03, atol=0.01)
    for old, network in zip(before, (step.generator, step.discriminator), strict=True):
        assert len(changed(old, network)) > 0.9 * len(old)
        assert all(variable.dtype == "float32" for variable in network.variables)


def test_float16_steps_that_overflow_are_skipped_and_halve_the_scale(batch):
    step = new_step(dtype="mixed_float16")
    networks = step.generator, step.discriminator
    optimizers = step.generator_optimizer, step.discriminator_optimizer
    for optimizer in optimizers:
        optimizer.dynamic_scale.assign(2.0**100)
    before = [values(network) for network in networks]
    metrics = {**step.critic_step(*batch), **step.generator_step(*batch[:2])}
    for old, network, optimizer in zip(before, networks, optimizers, strict=True):
        assert not changed(old, network)
        assert float(optimizer.dynamic_scale) == 2.0**99
    for name, value in metrics.items():
        assert np.isfinite(value) != name.startswith("gradient_norm"), name


@pytest.mark.slow
def test_a_float16_critic_feels_small_input_gradients(batch):
    images, masks, epsilon = batch
    norms, gradients = {}, {}
    for dtype in ("float32", "mixed_float16"):
        step = new_step(dtype=dtype)
        kernel = step.discriminator.linear.kernel
        kernel.assign(kernel * 1e-5)
        norms[dtype] = [
            losses.gradient_norms(step.discriminator, images, -images, epsilon, *scale).numpy()
            for scale in ((), (1024.0,))
        ]
        # Without holes the inpainted picture is the real one, and the penalty all that is left.
        gradients[dtype] = step.critic_gradients(images, 0 * masks, epsilon)[0]
    exact = norms["float32"][0]
    assert exact.min() > 1e-6
    np.testing.assert_allclose(norms["float32"][1], exact, rtol=1e-4)
    np.testing.assert_allclose(norms["mixed_float16"][1], exact, rtol=0.05)
    # Without the scale float16 loses nearly all of it; 1e-6 is the floor of the norm.
    assert norms["mixed_float16"][0].max() < 0.5 * exact.min()
    assert cosine(*gradients.values()) > 0.98


@pytest.mark.slow
def test_hinge_steps_train_a_spectrally_normalised_critic(batch):
    step = new_step(recipe=losses.LossRecipe(hinge=True), learning_rate=1e-3)
    critic = step.discriminator
    before = values(critic)
    history = [step.critic_step(*batch)]
    moved = changed(before, critic)
    assert {f"conv{i}/singular_vector" for i in range(1, 7)} <= last_names(moved)
    # While no score is past its margin, the bias of all is worth nothing.
    assert {v.path for v in critic.variables} - moved <= {critic.conv6.bias.path}
    assert history[0].keys() == {"loss/critic", "score_gap", "gradient_norm/critic"}
    history += [step.critic_step(*batch) for _ in range(5)]
    assert float(history[-1]["loss/critic"]) < 0.9 * float(history[0]["loss/critic"])
    assert float(history[-1]["score_gap"]) > float(history[0]["score_gap"])

    before = values(critic), values(step.generator)
    history.append(step.generator_step(*batch[:2]))
    assert not changed(before[0], critic)
    assert len(changed(before[1], step.generator)) > 0.95 * len(before[1])
    for metrics in history:
        assert np.isfinite(list(metrics.values())).all()


@pytest.fixture(scope="module")
def extractor():
    keras.utils.set_random_seed(1)
    image = keras.Input((None, None, 3))
    half = keras.layers.Conv2D(5, 3, strides=2, padding="same", activation="relu")(image)
    quarter = keras.layers.Conv2D(7, 3, strides=2, padding="same")(half)
    return keras.Model(image, [half, quarter])


def test_optional_terms_are_off_by_default(gradients):
    assert gradients[1][1].keys() == {
        "loss/generator",
        "loss/hole",
        "loss/context",
        "loss/adversarial",
        "hole_l1_grey_levels",
        "coarse_hole_l1_grey_levels",
        "context_l1_grey_levels",
        "hole_share",
    }


@pytest.mark.parametrize(
    "weights",
    [{"feature_matching": 1.0}, {"total_variation": 1.0}, {"perceptual": 0.5, "style": 2.0}],
    ids="-".join,
)
def test_optional_terms_are_measured_and_move_the_generator(batch, gradients, extractor, weights):
    step = new_step(recipe=losses.LossRecipe(**weights))
    if "style" in weights:
        step.feature_extractor = extractor
    base, expected = gradients[1]
    actual, metrics = step.generator_gradients(*batch[:2])
    added = {f"loss/{name}" for name in weights}
    assert metrics.keys() - expected.keys() == added
    assert all(float(metrics[name]) > 0 for name in added)
    total = sum(weight * float(metrics[f"loss/{name}"]) for name, weight in weights.items())
    assert float(metrics["loss/generator"]) == pytest.approx(
        float(expected["loss/generator"]) + total, rel=1e-4
    )
    # A tenth of the weights, a tenth of the change.
    moved = joined(actual) - joined(base)
    assert np.linalg.norm(moved) > 1e-2 * np.linalg.norm(joined(base))
    tenth = {name: weight / 10 for name, weight in weights.items()}
    step.recipe = losses.LossRecipe(**tenth)
    less = joined(step.generator_gradients(*batch[:2])[0]) - joined(base)
    np.testing.assert_allclose(less, moved / 10, atol=1e-3 * np.linalg.norm(moved))


def test_metrics_are_what_they_are_called(step, batch, gradients):
    images, masks = (tensor.numpy() for tensor in batch[:2])
    coarse, refined, _ = step.generator([images * (1 - masks), masks])
    metrics = gradients[1][1]
    holes, known = (np.broadcast_to(masks == value, images.shape) for value in (1, 0))
    for name, output, where in [
        ("hole_l1_grey_levels", refined, holes),
        ("coarse_hole_l1_grey_levels", coarse, holes),
        ("context_l1_grey_levels", refined, known),
    ]:
        expected = np.abs((output.numpy() - images) * 127.5)[where].mean()
        assert float(metrics[name]) == pytest.approx(expected, rel=1e-4), name
    assert float(metrics["hole_share"]) == pytest.approx(masks.mean())
    real, fake = (step.discriminator(x) for x in (images, inpainted(step, images, masks)))
    estimate = np.mean(real) - np.mean(fake)
    assert float(gradients[0][1]["wasserstein_estimate"]) == pytest.approx(estimate, rel=1e-3)
    assert float(metrics["loss/adversarial"]) == pytest.approx(-np.mean(fake), rel=1e-3)


@pytest.mark.slow
def test_reconstruction_learns(batch):
    # The coarse network alone, which is traced sooner.
    step = new_step(critic=False, coarse_only=True, learning_rate=1e-3)
    generator_step = tf.function(step.generator_step, autograph=False)
    history = [generator_step(*batch[:2]) for _ in range(25)]
    for name in ("loss/generator", "hole_l1_grey_levels"):
        assert float(history[-1][name]) < 0.6 * float(history[0][name]), name


def test_norms_are_those_of_the_gradients_and_nothing_moves_without_a_learning_rate(
    batch, gradients
):
    step = new_step()
    step.set_learning_rate(0.0)
    before = values(step.generator), values(step.discriminator)
    metrics = {**step.critic_step(*batch), **step.generator_step(*batch[:2])}
    assert not changed(before[0], step.generator) and not changed(before[1], step.discriminator)
    for name, (expected, _) in zip(("critic", "generator"), gradients, strict=True):
        norm = float(tf.linalg.global_norm(expected))
        assert float(metrics[f"gradient_norm/{name}"]) == pytest.approx(norm, rel=1e-4)
