"""Training, on crops of a real photo: steps, runs, and runs that are cut short."""

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import tensorflow as tf
from absl import flags

from hifill import Discriminator, Generator, losses, training, training_step, weights

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    launch = cv2.imread(str(REPOSITORY / "docs" / "demo" / "launch.jpg"))
    for i in range(4):
        cv2.imwrite(str(root / f"{i}.png"), launch[200:400, 120 * i : 120 * i + 240])
    return root


@pytest.fixture
def config(photos, tmp_path):
    return training.TrainingConfig(
        train_data=str(photos),
        workdir=str(tmp_path / "run"),
        batch_size=2,
        image_size=64,
        critic_steps=2,
        iterations=2,
        initializer="variance_preserving",
        save_every=1000,
        summary_every=1000,
    )


def new_step(seed=0, critic=True, size=64):
    tf.keras.utils.set_random_seed(seed)
    generator = Generator(
        kernel_initializer=training_step.kernel_initializer("variance_preserving")
    )
    discriminator = Discriminator(3, (size, size)) if critic else None
    return training_step.TrainingStep(generator, discriminator, losses.RECIPES["paper"], 1e-3)


def example(size=64):
    rng = np.random.default_rng(0)
    coarse = rng.uniform(-1, 1, (2, 5, 5, 3)).astype(np.float32)
    images = tf.image.resize(coarse, [size, size])
    masks = np.zeros((2, size, size, 1), np.float32)
    masks[0, 10:30, 20:50] = 1
    masks[1, 40:, :16] = 1
    return images, tf.constant(masks), tf.constant([0.25, 0.75])


def test_steps_are_the_same_under_xla():
    images, masks, epsilon = example()
    results = []
    for jit_compile in (False, True):
        step = new_step()
        critic = tf.function(step.critic_step, jit_compile=jit_compile)
        generator = tf.function(step.generator_step, jit_compile=jit_compile)
        results.append({**critic(images, masks, epsilon), **generator(images, masks)})
    assert results[0].keys() == results[1].keys()
    for name, value in results[0].items():
        np.testing.assert_allclose(value, results[1][name], rtol=2e-3, err_msg=name)


def test_each_step_updates_its_own_network():
    images, masks, epsilon = example()
    step = new_step()

    def values(model):
        return [variable.numpy() for variable in model.trainable_variables]

    def changed(before, after):
        return [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]

    generator, critic = values(step.generator), values(step.discriminator)
    metrics = step.critic_step(images, masks, epsilon)
    assert not any(changed(generator, values(step.generator)))
    assert all(changed(critic, values(step.discriminator))[:-1])  # a score's bias has no gradient
    assert {"critic", "wasserstein", "gradient_penalty"} == metrics.keys()
    critic = values(step.discriminator)
    step.generator_step(images, masks)
    assert not any(changed(critic, values(step.discriminator)))
    assert np.mean(changed(generator, values(step.generator))) > 0.95


def test_reconstruction_learns():
    images, masks, _ = example()
    step = new_step(critic=False)
    generator_step = tf.function(step.generator_step)
    history = [float(generator_step(images, masks)["generator"]) for _ in range(25)]
    assert history[-1] < 0.6 * history[0]


def run(config, **changes):
    tf.keras.utils.set_random_seed(config.seed)
    trainer = training.Trainer(dataclasses.replace(config, **changes))
    return trainer, list(trainer.train())


def test_a_resumed_run_equals_an_uninterrupted_one(config, tmp_path):
    straight, metrics = run(config, iterations=4, workdir=str(tmp_path / "straight"))
    assert [iteration for iteration, _ in metrics] == [1, 2, 3, 4]
    run(config, iterations=2)
    resumed, metrics = run(config, iterations=4)
    assert [iteration for iteration, _ in metrics] == [3, 4]
    for model in ("generator", "discriminator"):
        for a, b in zip(
            getattr(straight.step, model).variables,
            getattr(resumed.step, model).variables,
            strict=True,
        ):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6, err_msg=a.path)


def test_a_run_leaves_weights_summaries_and_pictures(config):
    trainer, metrics = run(config, summary_every=1)
    workdir = pathlib.Path(config.workdir)
    assert all(np.isfinite(list(values.values())).all() for _, values in metrics)
    loaded = Generator()
    weights.load_weights(loaded, workdir)
    for a, b in zip(loaded.variables, trainer.step.generator.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    events = [
        value
        for file in (workdir / "summaries").iterdir()
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
    ]
    tags = {value.tag for value in events}
    assert {"hole", "context", "critic", "generator", "hole_share"} <= tags
    grid = trainer.picture_grid().numpy()
    assert grid.shape == (256, 256, 3) and grid.dtype == np.uint8
    known = grid[:, 128:192][grid[:, :64] < 255], grid[:, 192:][grid[:, :64] < 255]
    np.testing.assert_array_equal(*known)


def test_starts_from_given_weights(config, tmp_path):
    given = Generator()
    path = tmp_path / "given.weights.h5"
    weights.save_weights(given, path)
    trainer = training.Trainer(dataclasses.replace(config, init_from=str(path)))
    for a, b in zip(trainer.step.generator.variables, given.variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_bfloat16_and_no_critic_without_critic_steps(config):
    trainer, metrics = run(config, dtype_policy="mixed_bfloat16", iterations=1, critic_steps=0)
    assert trainer.step.discriminator is None
    assert "adversarial" not in metrics[-1][1]
    assert np.isfinite(list(metrics[-1][1].values())).all()


def test_coarse_network_alone(config):
    tf.keras.utils.set_random_seed(0)
    trainer = training.Trainer(
        dataclasses.replace(
            config, critic_steps=0, coarse_only=True, workdir=f"{config.workdir}-coarse"
        )
    )
    networks = trainer.step.generator.coarse_network, trainer.step.generator.refine_network
    before = [[variable.numpy() for variable in network.variables] for network in networks]
    assert list(trainer.train())
    changed = [
        np.mean([not np.array_equal(a, b) for a, b in zip(old, network.variables, strict=True)])
        for old, network in zip(before, networks, strict=True)
    ]
    assert changed[0] > 0.9 and changed[1] == 0
    with pytest.raises(ValueError, match="no critic steps"):
        training.Trainer(
            dataclasses.replace(config, coarse_only=True, workdir=config.workdir + "3")
        )


def test_stops_at_losses_that_are_not_finite(config):
    trainer = training.Trainer(dataclasses.replace(config, critic_steps=0))
    trainer.save()
    bias = trainer.step.generator.coarse_network.c_dil_d1.bias
    bias.assign(np.full(bias.shape, np.nan, np.float32))
    with pytest.raises(FloatingPointError, match="iteration 1"):
        list(trainer.train())
    assert trainer.checkpoints.latest_checkpoint.endswith("-0")


def test_another_setting_in_the_same_folder_is_refused(config):
    training.Trainer(config).save()
    with pytest.raises(ValueError, match="batch_size=2, not 3"):
        training.Trainer(dataclasses.replace(config, batch_size=3))


def test_weights_of_another_architecture_are_refused(config, tmp_path):
    path = tmp_path / "paper.weights.h5"
    weights.save_weights(Generator("paper"), path)
    with pytest.raises(ValueError, match="re_en_down_256"):
        training.Trainer(dataclasses.replace(config, init_from=str(path)))


def command(config, **changes):
    values = {**dataclasses.asdict(config), **changes}
    arguments = [f"--{name}={value}" for name, value in values.items() if value is not None]
    return [sys.executable, str(REPOSITORY / "train.py"), *arguments]


def wait_for(condition, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def checkpoints(config):
    folder = pathlib.Path(config.workdir) / "checkpoints"
    return sorted(int(path.stem.split("-")[1]) for path in folder.glob("ckpt-*.index"))


def test_killed_runs_continue_where_they_last_saved(config):
    config = dataclasses.replace(config, critic_steps=1, save_every=2, iterations=10_000)
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    process = subprocess.Popen(command(config), stderr=subprocess.PIPE, text=True, env=environment)
    wait_for(lambda: checkpoints(config) and checkpoints(config)[-1] >= 4, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    saved = checkpoints(config)[-1]

    process = subprocess.Popen(command(config), stderr=subprocess.PIPE, text=True, env=environment)
    wait_for(lambda: checkpoints(config)[-1] > saved, process)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert f"at iteration {saved}" in stderr
    assert process.returncode == 130
    assert "Traceback" not in stderr
    _, metrics = run(config, iterations=checkpoints(config)[-1] + 1)
    assert len(metrics) == 1  # the interrupted run saved the very iteration it had reached


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"train_data": "/nowhere"}, 1, "/nowhere: no such folder"),
        ({"image_size": 100}, 2, "multiple of 64"),
        ({"templates": "/nowhere"}, 1, "/nowhere"),
        ({"train_data": "broken"}, 1, "broken.jpg: is not a JPEG"),
    ],
)
def test_bad_input_is_one_line(config, tmp_path, changes, code, message):
    if changes.get("train_data") == "broken":
        (tmp_path / "broken").mkdir()
        (tmp_path / "broken" / "broken.jpg").write_bytes(b"nothing")
        changes = {"train_data": str(tmp_path / "broken")}
    result = subprocess.run(
        command(config, **changes), capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == code, result.stderr
    complaints = [line for line in result.stderr.splitlines() if line.startswith("train.py")]
    assert len(complaints) == 1 and message in complaints[0]
    assert "Traceback" not in result.stderr


def test_flags_are_the_fields_of_the_config(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY)
    import train

    values = train.define_flags()
    fields = {field.name: field.default for field in dataclasses.fields(training.TrainingConfig)}
    defined = {flag.name: flag.default for flag in values.flags_by_module_dict()["train"]}
    assert defined.keys() == fields.keys()
    required = {"train_data", "workdir"}
    assert {k: v for k, v in defined.items() if k not in required} == {
        k: v for k, v in fields.items() if k not in required
    }


def test_places2_is_the_recipe_of_the_paper(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY)
    import train

    values = train.define_flags()
    values(
        ["train.py", f"--flagfile={REPOSITORY / 'places2.cfg'}", "--train_data=a", "--workdir=b"]
    )
    assert (values.image_size, values.batch_size, values.iterations) == (512, 8, 300_000)
    assert (values.critic_steps, values.discriminator_kernel, values.resize) == (5, 3, False)
    recipe = losses.RECIPES[values.recipe]
    assert (recipe.hole, recipe.context, recipe.adversarial) == (1, 1.2, 1e-4)
    with pytest.raises(flags.Error):
        values(["train.py", "--critic_steps=-1"])
