"""Training runs on crops of a real photo: what they leave, how they stop, how they continue."""

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import cv2
import h5py
import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from conftest import train_command
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hifill import Generator, losses, summaries, training, validation, weights

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    launch = cv2.imread(str(REPOSITORY / "hifill" / "demo_photos" / "launch.jpg"))
    for i in range(4):
        cv2.imwrite(str(root / f"{i}.png"), launch[200:400, 120 * i : 120 * i + 240])
    return root


def settings(photos, workdir, **changes):
    config = training.TrainingConfig(
        train_data=str(photos),
        workdir=str(workdir),
        batch_size=2,
        image_size=64,
        critic_steps=1,
        iterations=2,
        learning_rate=1e-3,
        initializer="variance_preserving",
        save_every=1000,
        summary_every=1000,
    )
    return dataclasses.replace(config, **changes)


@pytest.fixture
def coarse(photos, tmp_path):
    """The settings of a run that is quick to start, since no step is traced in this process."""
    tf.config.run_functions_eagerly(True)
    yield settings(photos, tmp_path / "run", critic_steps=0, coarse_only=True)
    tf.config.run_functions_eagerly(False)


def run(config):
    trainer = training.Trainer(config)
    return trainer, list(trainer.train())


def same_values(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a.variables, b.variables, strict=True))


# What a run leaves


@pytest.fixture(scope="module")
def finished(photos, tmp_path_factory):
    """A run with all that can be written."""
    config = settings(
        photos,
        tmp_path_factory.mktemp("finished") / "run",
        val_data=str(photos),
        validation_photos=3,
        iterations=3,
        summary_every=2,
        validate_every=1,
        save_every=2,
    )
    return run(config)


def test_the_latest_weights_of_both_networks_are_left(finished):
    trainer, _ = finished
    loaded = Generator()
    weights.load_weights(loaded, trainer.folder.path)
    assert same_values(loaded, trainer.step.generator)
    with h5py.File(trainer.folder.path / "discriminator.weights.h5") as file:
        kernel = file["discriminator/conv1/vars/0"][...]
    np.testing.assert_array_equal(kernel, trainer.step.discriminator.conv1.kernel)
    assert [pathlib.Path(path).name for path in trainer.checkpoints.paths()] == ["ckpt-2", "ckpt-3"]


def test_curves_pictures_flags_and_hole_shares_are_left(finished):
    trainer, _ = finished
    events = EventAccumulator(str(trainer.folder.path / "summaries"))
    events.Reload()
    tags = events.Tags()
    assert set(tags["scalars"]) >= {
        "hole_l1_grey_levels",
        "coarse_hole_l1_grey_levels",
        "wasserstein_estimate",
        "loss/gradient_penalty",
        "gradient_norm/generator",
        "gradient_norm/critic",
        "photos_per_second",
        "data_wait_share",
        "learning_rate",
        "photos_unreadable",
        "photos_enlarged",
        "validation/hole_l1_grey_levels",
        "validation/psnr",
    }
    assert tags["images"] == ["pictures"]
    assert any(tag.startswith("flags") for tag in tags["tensors"])
    (histogram,) = events.Tensors("hole_share_of_each_mask")
    left, right, count = tf.make_ndarray(histogram.tensor_proto).T
    assert count.sum() == 8  # 2 iterations of 2 steps with 2 masks
    assert left[0] >= 0.01 and right[-1] <= 0.25


def test_json_lines_hold_the_same_numbers(finished):
    trainer, history = finished
    lines = [json.loads(line) for line in (trainer.folder.path / "metrics.jsonl").open()]
    summary = next(line for line in lines if "loss/hole" in line)
    assert summary["iteration"] == 2
    mean = np.mean([metrics["loss/hole"] for _, metrics in history[:2]])
    assert summary["loss/hole"] == pytest.approx(mean)
    validated = [line for line in lines if "validation/psnr" in line]
    assert [line["iteration"] for line in validated] == [1, 2, 3]


def test_the_best_weights_on_held_out_photos_are_kept(finished):
    trainer, history = finished
    errors = [metrics["validation/hole_l1_grey_levels"] for _, metrics in history]
    assert float(trainer.best) == pytest.approx(min(errors))
    best = Generator()
    weights.load_weights(best, trainer.folder.path / "best.weights.h5")
    measured = trainer._validation.measure(lambda masked, holes: best([masked, holes]))
    assert measured["hole_l1_grey_levels"] == pytest.approx(min(errors), rel=1e-4)
    # A worse one must not replace it.
    written = (trainer.folder.path / "best.weights.h5").read_bytes()
    bias = trainer.step.generator.refine_network.re_de_toRGB__256.bias
    kept = bias.numpy()
    bias.assign(kept + 5)
    assert trainer.validate()["validation/hole_l1_grey_levels"] > min(errors)
    bias.assign(kept)
    assert (trainer.folder.path / "best.weights.h5").read_bytes() == written


def test_validation_measures_the_hole_in_grey_levels(finished):
    # The second batch of 2 has one picture; what fills it up must not count.
    held_out = validation.Validation(finished[0].samples, 3, 2, losses.LossRecipe())
    images, masks = held_out.first
    coming = iter([images[:2], tf.concat([images[2:], tf.zeros_like(images[:1])], axis=0)])

    def off_by_twenty_and_ten(masked, holes):
        photos = next(coming)
        np.testing.assert_array_equal(masked, photos * (1 - holes))
        return photos + 20 / 127.5, photos - 10 / 127.5, None

    measured = held_out.measure(off_by_twenty_and_ten)
    assert measured["hole_l1_grey_levels"] == pytest.approx(10, rel=1e-4)
    assert measured["coarse_hole_l1_grey_levels"] == pytest.approx(20, rel=1e-4)
    shares = tf.reduce_mean(masks, axis=[1, 2, 3]).numpy()
    psnr = np.mean(10 * np.log10(255**2 / (100 * shares)))
    assert measured["psnr"] == pytest.approx(psnr, rel=1e-4)


def test_validation_may_judge_what_meets_the_rim(finished):
    held_out = validation.Validation(finished[0].samples, 2, 2, losses.LossRecipe(meet_rim=True))
    images, _ = held_out.first
    measured = held_out.measure(lambda *_: (images + 20 / 127.5, images - 10 / 127.5, None))
    assert measured["hole_l1_grey_levels"] < 0.01
    assert measured["coarse_hole_l1_grey_levels"] < 0.01


def test_the_picture_grid_shows_six_columns(finished):
    grid = finished[0].picture_grid()
    assert grid.shape == (3 * 64, 6 * 64, 3) and grid.dtype == np.uint8
    photo, masked, composite = (grid[:, 64 * i : 64 * i + 64] for i in (0, 1, 4))
    known = (masked < 255).any(axis=2)
    np.testing.assert_array_equal(photo[known], composite[known])


# How it starts


def test_a_finished_run_is_left_as_it_is(coarse):
    run(coarse)
    before = (pathlib.Path(coarse.workdir) / "generator.weights.h5").stat().st_mtime_ns
    trainer, metrics = run(coarse)
    assert not metrics and trainer.finished
    assert (pathlib.Path(coarse.workdir) / "generator.weights.h5").stat().st_mtime_ns == before


def test_a_cut_off_checkpoint_is_skipped(coarse, caplog):
    run(dataclasses.replace(coarse, iterations=4, save_every=2))
    folder = pathlib.Path(coarse.workdir) / "checkpoints"
    data = next(folder.glob("ckpt-4.data*"))
    os.truncate(data, data.stat().st_size // 2)
    _, metrics = run(dataclasses.replace(coarse, iterations=6))
    assert [iteration for iteration, _ in metrics] == [3, 4, 5, 6]
    assert "ckpt-4 is damaged" in caplog.text


def test_the_learning_rate_falls_along_a_cosine(coarse):
    config = dataclasses.replace(coarse, iterations=4, final_learning_rate=1e-4, summary_every=1)
    run(config)
    lines = (pathlib.Path(config.workdir) / "metrics.jsonl").read_text().splitlines()
    rates = [json.loads(line)["learning_rate"] for line in lines]
    expected = 1e-4 + 9e-4 * (1 + np.cos(np.pi * np.arange(4) / 4)) / 2
    np.testing.assert_allclose(rates, expected, rtol=1e-5)


@pytest.mark.slow
def test_another_setting_in_the_same_folder_is_refused(coarse):
    run(coarse)
    with pytest.raises(ValueError, match="batch_size=2, not 3"):
        training.Trainer(dataclasses.replace(coarse, batch_size=3))
    (pathlib.Path(coarse.workdir) / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json: missing or damaged"):
        training.Trainer(coarse)


def test_weights_without_checkpoints_are_not_overwritten(coarse):
    run(coarse)
    folder = pathlib.Path(coarse.workdir)
    shutil.rmtree(folder / "checkpoints")
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(ValueError, match="no checkpoint to continue it from"):
        training.Trainer(dataclasses.replace(coarse, seed=1))
    assert before == {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_two_processes_cannot_train_in_one_folder(coarse):
    first, second = training.Trainer(coarse), training.Trainer(coarse)
    progress = first.train()
    next(progress)
    with pytest.raises(ValueError, match="another process trains here"):
        next(second.train())
    assert [iteration for iteration, _ in progress] == [2]
    run(dataclasses.replace(coarse, iterations=3))


@pytest.mark.slow
def test_the_best_is_looked_for_anew_on_other_photos(coarse, photos, caplog):
    caplog.set_level("INFO")
    config = dataclasses.replace(coarse, val_data=str(photos), validation_photos=2)
    trainer, _ = run(dataclasses.replace(config, validate_every=2))
    best = float(trainer.best)
    assert best < 255
    assert float(training.Trainer(config).best) == best
    assert "looked for anew" not in caplog.text
    assert float(training.Trainer(dataclasses.replace(config, validation_photos=1)).best) == np.inf
    assert "looked for anew" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_validation_in_mixed_precision(coarse, photos, policy):
    config = dataclasses.replace(
        coarse, dtype_policy=policy, val_data=str(photos), validate_every=2, summary_every=1
    )
    trainer, history = run(config)
    assert 0 < history[-1][1]["validation/hole_l1_grey_levels"] < 255
    lines = (trainer.folder.path / "metrics.jsonl").read_text().splitlines()
    assert ("loss_scale/generator" in json.loads(lines[0])) == (policy == "mixed_float16")
    grid = trainer.picture_grid()
    np.testing.assert_array_equal(grid[:, 128:192], grid[:, 192:256])  # there is no refined one


@pytest.mark.slow
def test_summaries_and_average_of_mirrored_variables(coarse):
    config = dataclasses.replace(coarse, strategy="mirrored", summary_every=1, average_decay=0.9)
    trainer, history = run(config)
    assert [iteration for iteration, _ in history] == [1, 2]
    mean, now = trainer.average.network.weights[0], trainer.step.generator.weights[0]
    assert 0 < np.abs(mean.numpy() - now.numpy()).max() < 4e-3  # two steps of 1e-3
    lines = (pathlib.Path(coarse.workdir) / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["learning_rate"] == pytest.approx(1e-3)


@pytest.mark.slow
def test_the_average_follows_the_weights(coarse, photos):
    """By the formula, from the weights the run started with; continued and measured too."""
    config = dataclasses.replace(
        coarse, average_decay=0.3, iterations=5, val_data=str(photos), validate_every=3
    )
    trainer = training.Trainer(dataclasses.replace(config, iterations=3))
    weight, untrained = trainer.step.generator.weights[0], trainer.step.generator.weights[-1]

    def follow(progress, expected):
        for n, metrics in progress:
            decay = min(0.3, (1 + n) / (10 + n))
            expected = decay * expected + (1 - decay) * weight.numpy()
            measured.update(metrics)
        return expected

    expected, measured = weight.numpy(), {}
    expected = follow(trainer.train(), expected)
    name = "hole_l1_grey_levels"
    assert measured[f"validation_average/{name}"] != measured[f"validation/{name}"]
    trainer = training.Trainer(config)
    weight = trainer.step.generator.weights[0]
    expected = follow(trainer.train(), expected)
    average = Generator()
    weights.load_weights(average, trainer.folder.path / "average.weights.h5")
    np.testing.assert_allclose(average.weights[0].numpy(), expected, rtol=1e-5, atol=1e-7)
    assert not np.array_equal(expected, weight.numpy())
    np.testing.assert_array_equal(average.weights[-1].numpy(), untrained.numpy())


# How it stops


def test_float16_gradients_that_are_never_finite_stop_the_run(coarse):
    trainer = training.Trainer(
        dataclasses.replace(coarse, dtype_policy="mixed_float16", iterations=100)
    )
    optimizer = trainer.step.generator_optimizer
    optimizer.dynamic_scale.assign(2.0)
    compute = trainer.step._generator_gradients

    def overflowing(*tensors):
        gradients, metrics = compute(*tensors)
        return [gradient * np.inf for gradient in gradients], metrics

    trainer.step._generator_gradients = overflowing
    with pytest.raises(FloatingPointError, match="loss_scale/generator fell below 1"):
        list(trainer.train())
    assert int(trainer.iteration) == 2


def test_a_summary_that_cannot_be_written_saves_and_stops(coarse, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(summaries.RunLog, "scalars", full)
    trainer = training.Trainer(dataclasses.replace(coarse, iterations=9, summary_every=3))
    with pytest.raises(ValueError, match=r"run: cannot be written \(No space left on device\)"):
        list(trainer.train())
    assert trainer.checkpoints.latest.endswith("ckpt-3")


def test_stops_at_losses_that_are_not_finite(coarse):
    trainer = training.Trainer(coarse)
    trainer.save()
    bias = trainer.step.generator.coarse_network.c_dil_d1.bias
    bias.assign(np.full(bias.shape, np.nan, np.float32))
    with pytest.raises(FloatingPointError, match=r"iteration 1: .*loss/hole.* not finite.*ckpt-0"):
        list(trainer.train())
    assert trainer.checkpoints.latest.endswith("ckpt-0")


def test_too_many_bad_photos_save_and_stop(coarse, photos, tmp_path):
    listed = tmp_path / "photos.txt"
    good = [str(path) for path in sorted(photos.iterdir())]
    listed.write_text("\n".join([*good, *good, str(tmp_path / "gone.png")]))
    config = dataclasses.replace(
        coarse, train_data=str(listed), val_data=str(photos), iterations=50
    )
    trainer = training.Trainer(config)
    with pytest.raises(ValueError, match=r"1 of 9 photos .*gone\.png") as caught:
        list(trainer.train())
    assert "\n" not in str(caught.value)
    assert trainer.checkpoints.latest.endswith(f"ckpt-{int(trainer.iteration)}")
    assert int(trainer.samples_used) == 2 * int(trainer.iteration)
    _, metrics = run(dataclasses.replace(config, max_bad_fraction=0.2, iterations=9))
    assert metrics[-1][0] == 9


@pytest.mark.slow
def test_a_full_disk_ends_the_run_and_spares_the_last_checkpoint(coarse):
    run(dataclasses.replace(coarse, iterations=1))
    # A limit on the size of files fails where a full disk would.
    script = (
        "import resource, runpy, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20));"
        "sys.argv[:] = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    arguments = train_command(dataclasses.replace(coarse, iterations=2))
    arguments[1:1] = ["-c", script]
    result = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 1 and "Traceback" not in result.stderr, result.stderr
    assert "checkpoint 2 cannot be written" in result.stderr.splitlines()[-1]
    assert "ckpt-1" in result.stderr.splitlines()[-1]
    _, metrics = run(dataclasses.replace(coarse, iterations=2))
    assert [iteration for iteration, _ in metrics] == [2]
    assert not list(pathlib.Path(coarse.workdir).rglob("*temp*"))


# The command


class Started:
    """train.py in a process of its own, its messages in a file."""

    def __init__(self, config, log):
        self.log = log
        with log.open("w") as stderr:
            self.process = subprocess.Popen(train_command(config), stderr=stderr)

    def wait_for(self, condition, seconds=180):
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def end(self, number=None):
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(timeout=180)
        assert "Traceback" not in self.log.read_text()
        return code


def saved_iterations(workdir):
    folder = pathlib.Path(workdir) / "checkpoints"
    return sorted(int(path.stem.split("-")[1]) for path in folder.glob("ckpt-*.index"))


def checkpoint_values(workdir, iteration):
    reader = tf.train.load_checkpoint(f"{workdir}/checkpoints/ckpt-{iteration}")
    names = [name for name in reader.get_variable_to_shape_map() if "OBJECT_GRAPH" not in name]
    return {name: reader.get_tensor(name) for name in names if "save_counter" not in name}


@pytest.mark.slow
def test_a_killed_and_a_stopped_run_continue_bit_for_bit(photos, tmp_path):
    config = settings(photos, tmp_path / "cut", iterations=10_000, save_every=5)
    config = dataclasses.replace(config, deterministic=True, average_decay=0.99)
    first = Started(config, tmp_path / "first.log")
    first.wait_for(lambda: saved_iterations(config.workdir))
    assert first.end(signal.SIGKILL) == -signal.SIGKILL
    assert saved_iterations(config.workdir) == [5]

    second = Started(dataclasses.replace(config, save_every=1000), tmp_path / "second.log")
    second.wait_for(lambda: "iteration 6 of" in second.log.read_text())
    assert second.end(signal.SIGTERM) == 130
    assert "ckpt-5 at iteration 5" in second.log.read_text()
    reached = saved_iterations(config.workdir)[-1]
    assert reached >= 6

    total = max(10, reached + 1)
    third = Started(dataclasses.replace(config, iterations=total), tmp_path / "third.log")
    assert third.end() == 0
    straight = dataclasses.replace(config, iterations=total, workdir=str(tmp_path / "straight"))
    assert Started(straight, tmp_path / "straight.log").end() == 0

    cut, uncut = (checkpoint_values(c.workdir, total) for c in (config, straight))
    assert cut.keys() == uncut.keys() and len(cut) > 600
    assert not [name for name in cut if not np.array_equal(cut[name], uncut[name])]


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"train_data": "/nowhere"}, 1, "/nowhere: no such folder"),
        ({"image_size": 100}, 2, "multiple of 64"),
        ({"templates": "/nowhere"}, 1, "/nowhere"),
        ({"accumulate": 2, "batch_size": 3}, 1, "--batch_size=3 cannot be shared evenly"),
        ({"perceptual_weight": 1.0}, 1, "need --feature_extractor"),
        ({"flagfile": "unknown"}, 2, "Unknown command line flag 'no_such_flag'"),
    ],
)
def test_bad_input_is_one_line(coarse, tmp_path, changes, code, message):
    arguments = train_command(coarse)
    if "flagfile" in changes:
        flagfile = tmp_path / "typo.cfg"
        flagfile.write_text("# a comment\n--no_such_flag=3\n")
        changes = {"flagfile": str(flagfile)}
    arguments += [f"--{name}={value}" for name, value in changes.items()]
    result = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == code, result.stderr
    complaints = [line for line in result.stderr.splitlines() if line.startswith("train.py")]
    assert len(complaints) == 1 and message in complaints[0]
    assert "Traceback" not in result.stderr
    assert not pathlib.Path(coarse.workdir).exists()


def parsed(monkeypatch, *arguments):
    monkeypatch.syspath_prepend(REPOSITORY)
    import train

    values = train.define_flags()
    values(["train.py", *arguments])
    return values


def test_flags_are_the_fields_of_the_config(monkeypatch):
    values = parsed(monkeypatch, "--train_data=a", "--workdir=b")
    fields = {field.name: field.default for field in dataclasses.fields(training.TrainingConfig)}
    defined = {flag.name: flag.default for flag in values.flags_by_module_dict()["train"]}
    assert defined.keys() == fields.keys()
    required = {"train_data", "workdir"}
    assert {k: v for k, v in defined.items() if k not in required} == {
        k: v for k, v in fields.items() if k not in required
    }


CONFIGS = ("places2", "places2_released", "celeba_hq", "div2k", "quick")


@pytest.mark.parametrize("name", CONFIGS)
def test_flag_files_set_what_their_heads_say(monkeypatch, name):
    path = REPOSITORY / f"{name}.cfg"
    values = parsed(monkeypatch, f"--flagfile={path}", "--train_data=a", "--workdir=b")
    head = path.read_text().split("\n--")[0]
    assert f"--flagfile={name}.cfg" in head and all(
        line.startswith("#") for line in head.splitlines()
    )
    if name == "quick":
        assert (values.image_size, values.iterations, values.critic_steps) == (128, 600, 1)
        return
    recipe = losses.RECIPES[values.recipe]
    released = name == "places2_released"
    assert (values.image_size, values.batch_size, values.iterations) == (512, 8, 300_000)
    assert values.critic_steps == (3 if released else 5)
    assert values.discriminator_kernel == (5 if released else 3)
    assert recipe.adversarial == (1e-3 if released else 1e-4)
    assert values.resize == (name in ("celeba_hq", "div2k"))
    assert values.one_mask_per_batch == released


def test_flags_out_of_range_are_refused(monkeypatch):
    with pytest.raises(flags.Error):
        parsed(monkeypatch, "--train_data=a", "--workdir=b", "--critic_steps=-1")
