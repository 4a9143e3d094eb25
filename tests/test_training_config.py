"""The settings of a run: what they build, and which do not fit together."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from hifill import convert, training_config, weights
from hifill.training_config import TrainingConfig, build_masks, build_step, initialise, loss_recipe

CONFIG = TrainingConfig("photos", "run", image_size=64)


def changed(**changes):
    return dataclasses.replace(CONFIG, **changes)


# Masks


def test_shares_of_masks_reach_the_mix():
    mix = build_masks(changed(stroke_share=1, object_share=3, box_share=2, max_hole=0.1))
    assert (mix.strokes, mix.objects, mix.boxes, mix.files) == (1, 3, 2, 0)
    assert mix.max_share == 0.1 and len(mix.templates) > 10


def test_a_mask_folder_without_a_share_is_refused(tmp_path):
    hole = np.zeros((64, 64, 1), np.uint8)
    hole[10:20] = 255
    tf.io.write_file(str(tmp_path / "a.png"), tf.io.encode_png(hole))
    with pytest.raises(ValueError, match="would not be used"):
        build_masks(changed(mask_folder=str(tmp_path)))
    mix = build_masks(
        changed(mask_folder=str(tmp_path), file_share=1, stroke_share=0, object_share=0)
    )
    assert mix.draw(np.random.default_rng(0), 64, 64).sum() == 640
    with pytest.raises(ValueError, match="need mask files"):
        build_masks(changed(file_share=1))


# Losses


def test_weights_replace_the_recipe_s():
    recipe = loss_recipe(changed(hole_weight=6, gradient_penalty_weight=0.0, recipe="released"))
    assert (recipe.hole, recipe.gradient_penalty, recipe.context) == (6, 0, 1.2)
    assert recipe.adversarial == 1e-3 and not recipe.hinge
    optional = (recipe.perceptual, recipe.style, recipe.feature_matching, recipe.total_variation)
    assert optional == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"style_weight": 1.0}, "need --feature_extractor"),
        ({"feature_extractor": "vgg.h5"}, "of use with --perceptual_weight"),
        ({"feature_matching_weight": 1.0, "critic_steps": 0}, "needs a critic"),
    ],
)
def test_terms_that_lack_something_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        loss_recipe(changed(**changes))


def test_a_missing_feature_extractor_is_named():
    with pytest.raises(ValueError, match=r"nowhere\.h5"):
        build_step(changed(style_weight=1.0, feature_extractor="nowhere.h5"))


# Networks


def test_batches_have_to_be_shared_evenly():
    with pytest.raises(ValueError, match=r"batch_size=8 .* 3 replicas .*multiple of 6"):
        build_step(changed(accumulate=2), replicas=3)


def test_hinge_loss_brings_its_critic():
    critic = build_step(changed(critic_loss="hinge", discriminator_kernel=5)).discriminator
    assert critic.spectral_normalisation and critic.head == "patch" and critic.kernel_size == 5
    assert build_step(changed(critic_steps=0)).discriminator is None


# Starting from earlier weights


@pytest.fixture(scope="module")
def trained():
    tf.keras.utils.set_random_seed(3)
    step = build_step(CONFIG)
    for variable in step.generator.trainable_variables + step.discriminator.trainable_variables:
        variable.assign(variable + 0.01)
    return step


def equal(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a.variables, b.variables, strict=True))


def run_folder(trained, folder):
    weights.save_weights(trained.generator, folder / "generator.weights.h5")
    weights.save_weights(trained.discriminator, folder / "discriminator.weights.h5")
    return folder


def test_from_another_run_both_networks_are_taken(trained, tmp_path):
    step = build_step(CONFIG)
    initialise(step, str(run_folder(trained, tmp_path)))
    assert equal(step.generator, trained.generator)
    assert equal(step.discriminator, trained.discriminator)


def test_a_critic_that_does_not_fit_starts_anew(trained, tmp_path, caplog):
    step = build_step(changed(discriminator_kernel=5))
    before = step.discriminator.conv1.kernel.numpy()
    initialise(step, str(run_folder(trained, tmp_path)))
    assert equal(step.generator, trained.generator)
    np.testing.assert_array_equal(step.discriminator.conv1.kernel, before)
    assert "the critic starts anew" in caplog.text


def test_from_a_weights_file_or_the_shipped_ones(trained, tmp_path):
    path = tmp_path / "given.weights.h5"
    weights.save_weights(trained.generator, path)
    step = build_step(changed(critic_steps=0))
    initialise(step, str(path))
    assert equal(step.generator, trained.generator)
    initialise(step, "shipped")
    assert not equal(step.generator, trained.generator)
    shipped = weights.load_generator()
    assert equal(step.generator, shipped)


@pytest.mark.slow
def test_from_a_tensorflow_1_checkpoint(trained, tmp_path):
    names = {
        **convert.tensorflow1_variables(trained.generator),
        **convert.tensorflow1_variables(trained.discriminator),
    }
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variables = [tf.compat.v1.Variable(value, name=name) for name, value in names.items()]
        session.run([variable.initializer for variable in variables])
        tf.compat.v1.train.Saver(variables).save(session, str(tmp_path / "model"), global_step=7)
    for source in (tmp_path, tmp_path / "model-7", tmp_path / "model-7.index"):
        step = build_step(CONFIG)
        initialise(step, str(source))
        assert equal(step.generator, trained.generator)
        assert equal(step.discriminator, trained.discriminator)
    step = build_step(changed(critic_loss="hinge"))
    initialise(step, str(tmp_path))
    assert equal(step.generator, trained.generator)


def test_weights_that_do_not_exist_or_fit_are_named(trained, tmp_path):
    step = build_step(changed(architecture="paper", critic_steps=0))
    with pytest.raises(ValueError, match="nowhere: no such weights file"):
        initialise(step, "nowhere")
    with pytest.raises(ValueError, match="re_en_down_256"):
        initialise(step, str(run_folder(trained, tmp_path)))


# Continuing


def test_what_may_change_between_two_starts(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(dataclasses.asdict(CONFIG)))
    training_config.check_same_run(
        path, changed(iterations=5, learning_rate=1e-5, strategy="mirrored", accumulate=2)
    )
    for name, value in (("critic_steps", 3), ("seed", 1), ("box_share", 0.5), ("resize", True)):
        with pytest.raises(ValueError, match=f"with {name}=.*, not {value}"):
            training_config.check_same_run(path, changed(**{name: value}))


def test_runs_of_before_a_setting_existed_have_its_default(tmp_path):
    path = pathlib.Path(tmp_path, "config.json")
    old = dataclasses.asdict(CONFIG)
    del old["box_share"]
    path.write_text(json.dumps(old))
    training_config.check_same_run(path, CONFIG)
    with pytest.raises(ValueError, match="box_share"):
        training_config.check_same_run(path, changed(box_share=0.5))
