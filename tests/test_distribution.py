"""Training on several devices and in several processes, as far as one machine can."""

import dataclasses
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import tensorflow as tf
from conftest import train_command

from hifill import distribution
from hifill.training import Trainer, TrainingConfig
from hifill.training_config import build_step

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name != "TF_CONFIG"},
    "CUDA_VISIBLE_DEVICES": "",
    "PYTHONPATH": str(REPOSITORY),
    "TF_CPP_MIN_LOG_LEVEL": "2",
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    launch = cv2.imread(str(REPOSITORY / "hifill" / "demo_photos" / "launch.jpg"))
    for i in range(5):
        cv2.imwrite(str(root / f"{i}.png"), launch[200:400, 100 * i : 100 * i + 240])
    return root


def first_gradients(optimizer):
    """The gradients of Adam's first step, half of which are then its moments (beta_1 is 0.5)."""
    moments = [v.numpy() for v in optimizer.variables if v.path.endswith("momentum")]
    assert moments
    return [2 * moment for moment in moments]


def joined(arrays):
    return np.concatenate([np.ravel(array) for array in arrays]).astype(np.float64)


@pytest.fixture(scope="module")
def one_and_two_devices(photos, tmp_path_factory):
    """Two trainers after one iteration, on one device and on two, and records of both."""
    root = tmp_path_factory.mktemp("devices")
    config = TrainingConfig(
        train_data=str(photos),
        workdir=str(root / "one"),
        image_size=64,
        batch_size=4,
        critic_steps=1,
        recipe="released",
        initializer="variance_preserving",
        iterations=1,
    )
    mirrored = dataclasses.replace(config, workdir=str(root / "two"), strategy="mirrored")
    script = [sys.executable, str(REPOSITORY / "tests" / "two_devices.py")]
    process = subprocess.Popen(
        [*script, json.dumps(dataclasses.asdict(mirrored)), str(root / "shares.npz")],
        env=ENVIRONMENT,
    )
    try:
        one = Trainer(config)
        elements = distribution.iterator(one.strategy, one.samples, 4, 2, 0)
        metrics = one.step.iteration(*next(elements))
        assert process.wait(timeout=300) == 0
    finally:
        process.kill()
    two = Trainer(dataclasses.replace(mirrored, strategy="one_device"))
    assert int(two.iteration) == 1
    with np.load(root / "shares.npz") as shares:
        return one, two, metrics, dict(shares)


def test_two_devices_share_the_samples_of_one(one_and_two_devices):
    one, _, _, shares = one_and_two_devices
    samples = [one.samples.sample(number) for number in range(8)]
    for name, expected in zip(
        ("images", "masks", "epsilon"), zip(*samples, strict=True), strict=True
    ):
        actual = shares[name]  # [replicas, steps, B / replicas, ...]
        expected = np.reshape(expected, (2, 4, *np.shape(expected)[1:]))  # [steps, B, ...]
        np.testing.assert_array_equal(np.concatenate(actual, axis=1), expected)
        parts = actual.swapaxes(1, 2).reshape(-1, *actual.shape[3:])
        assert len(np.unique(parts.reshape(8, -1), axis=0)) == 8


def test_two_devices_take_the_step_of_one(one_and_two_devices):
    one, two, metrics, shares = one_and_two_devices
    for name, value in metrics.items():
        if name.startswith("gradient_norm"):  # of the mean of the replicas' gradients
            np.testing.assert_allclose(shares[name], [value, value], rtol=1e-4)
        elif not name.endswith("grey_levels"):  # means over holes of unequal sizes
            # The generator's losses come after the critic's step, see below.
            assert np.mean(shares[name]) == pytest.approx(float(value), rel=1e-3, abs=1e-6), name
    actual, expected = (first_gradients(trainer.step.generator_optimizer) for trainer in (two, one))
    assert relative_error(joined(actual), joined(expected)) <= 1e-5
    assert weight_errors(one, two, "generator").max() <= 1e-5  # a tenth of the learning rate

    actual, expected = (
        first_gradients(trainer.step.discriminator_optimizer) for trainer in (two, one)
    )
    errors = [relative_error(*pair) for pair in zip(actual, expected, strict=True)]
    # A rounding error can take a unit of the first layers across the kink of its leaky ReLU.
    assert np.median(errors) <= 1e-5 and np.max(errors) <= 1e-2
    # Adam makes a whole step of a gradient that is nearly 0, in the direction of its sign.
    errors = weight_errors(one, two, "discriminator")
    assert np.mean(errors > 1e-5) <= 1e-3 and errors.max() <= 2.1e-4


def relative_error(actual, expected):
    return np.linalg.norm(actual - expected) / max(np.linalg.norm(expected), 1e-12)


def weight_errors(one, two, network):
    actual, expected = (joined(getattr(t.step, network).variables) for t in (two, one))
    return np.abs(actual - expected)


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports


class Cluster:
    """Two processes of train.py on the loopback device."""

    def __init__(self, config, second_workdir=None):
        ports = free_ports(2)
        self.processes, self.logs = [], []
        for index, workdir in enumerate((config.workdir, second_workdir or config.workdir)):
            task = {
                "cluster": {"worker": [f"127.0.0.1:{port}" for port in ports]},
                "task": {"type": "worker", "index": index},
            }
            log = pathlib.Path(f"{workdir}-{index}.log")
            with open(log, "w") as stderr:
                self.processes.append(
                    subprocess.Popen(
                        train_command(dataclasses.replace(config, workdir=workdir)),
                        env={**ENVIRONMENT, "TF_CONFIG": json.dumps(task)},
                        stderr=stderr,
                    )
                )
            self.logs.append(log)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()

    def wait_for(self, condition, seconds=240):
        deadline = time.monotonic() + seconds
        while not condition():
            for process, log in zip(self.processes, self.logs, strict=True):
                assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def exit_codes(self, seconds=240):
        deadline = time.monotonic() + seconds
        return [p.wait(timeout=deadline - time.monotonic()) for p in self.processes]

    def said(self, index, words):
        """How many lines train.py itself said with these words; TensorFlow may say more."""
        text = self.logs[index].read_text()
        assert "Traceback" not in text
        lines = [line for line in text.splitlines() if line.startswith("train.py: ")]
        return sum(words in line for line in lines)


def saved(config):
    folder = pathlib.Path(config.workdir) / "checkpoints"
    return max((int(path.stem.split("-")[1]) for path in folder.glob("ckpt-*.index")), default=0)


@pytest.fixture(scope="module")
def cluster_config(photos, tmp_path_factory):
    """The coarse network alone, which is the soonest to start."""
    return TrainingConfig(
        train_data=str(photos),
        workdir=str(tmp_path_factory.mktemp("cluster") / "run"),
        image_size=64,
        batch_size=2,
        critic_steps=0,
        coarse_only=True,
        initializer="variance_preserving",
        iterations=100_000,
        save_every=1,
        strategy="multi_worker",
    )


@pytest.mark.slow
def test_workers_that_are_killed_or_stopped_continue_to_the_same_end(cluster_config):
    config = cluster_config
    with Cluster(config) as cluster:
        cluster.wait_for(lambda: saved(config) >= 2)
        cluster.processes[0].kill()
        assert cluster.exit_codes(120) == [-signal.SIGKILL, 1]
        assert cluster.said(1, "another worker was lost") == 1
        assert cluster.said(1, "start all workers again") == 1

    reached = saved(config)
    with Cluster(dataclasses.replace(config, save_every=100_000)) as cluster:
        # The worker that writes nothing is stopped, once it trains.
        cluster.wait_for(lambda: cluster.said(1, f"iteration {reached + 1} of"))
        cluster.processes[1].terminate()
        assert cluster.exit_codes() == [130, 130]
        for index in range(2):
            assert cluster.said(index, f"at iteration {reached}") == 1
            assert cluster.said(index, "lost") == 0
    assert saved(config) > reached

    reached, total = saved(config), saved(config) + 2
    with Cluster(dataclasses.replace(config, iterations=total)) as cluster:
        assert cluster.exit_codes() == [0, 0]
        assert cluster.said(0, f"at iteration {reached}") == 1
    assert saved(config) == total

    alone = dataclasses.replace(
        config,
        workdir=config.workdir + "-alone",
        strategy="one_device",
        iterations=total,
        save_every=100_000,
    )
    undisturbed = Trainer(alone)
    assert len(list(undisturbed.train())) == total
    continued = Trainer(dataclasses.replace(alone, workdir=config.workdir))
    assert int(continued.iteration) == total
    assert int(continued.samples_used) == 2 * total
    errors = weight_errors(undisturbed, continued, "generator")
    # Of steps of 1e-4.
    assert errors.max() <= 1e-4 and np.mean(errors > 1e-5) <= 1e-3


@pytest.mark.slow
def test_workers_without_a_common_folder_are_told(cluster_config, tmp_path):
    config = dataclasses.replace(cluster_config, workdir=str(tmp_path / "run"))
    trainer = Trainer(dataclasses.replace(config, strategy="one_device"))
    trainer.iteration.assign(1)
    trainer.save()
    with Cluster(config, second_workdir=str(tmp_path / "elsewhere")) as cluster:
        assert cluster.exit_codes() == [1, 1]
        for index in range(2):
            assert cluster.said(index, "--workdir must be a folder that all workers share") == 1


def test_a_process_can_end_while_samples_are_under_way():
    script = """
import time, numpy, tensorflow
from hifill import distribution

class Slow:
    image_size = 64

    def sample(self, number):
        time.sleep(0.2)
        return numpy.zeros((64, 64, 3), "u1"), numpy.zeros((64, 64, 1), "u1"), numpy.float32(0)

def train():
    elements = distribution.iterator(tensorflow.distribute.get_strategy(), Slow(), 4, 1, 0)
    next(elements)
    raise LookupError("nobody catches this")

train()
"""
    result = subprocess.run(
        [sys.executable, "-c", script],
        env=ENVIRONMENT,
        timeout=120,
        check=False,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1 and "nobody catches this" in result.stderr


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        (None, "TF_CONFIG is not set"),
        ("{", "line 1 column 2"),
        ("3", "TF_CONFIG"),
        ('{"cluster": {"worker": 3}}', "must be a list"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}}', "task_type"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}', "exceeds"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": "b"}}', "'b'"),
    ],
)
def test_broken_clusters_are_refused(monkeypatch, cluster, message):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if cluster is not None:
        monkeypatch.setenv("TF_CONFIG", cluster)
    with pytest.raises(ValueError, match=message) as error:
        distribution.make_strategy("multi_worker")
    assert "--strategy=multi_worker" in str(error.value)


def test_unknown_strategies_are_refused():
    with pytest.raises(ValueError, match="one_device, mirrored, multi_worker, tpu"):
        distribution.make_strategy("several")


def test_batches_that_cannot_be_shared_are_refused(cluster_config):
    with pytest.raises(ValueError, match="--batch_size=2 cannot be shared evenly by 3 replicas"):
        build_step(cluster_config, replicas=3)


def test_a_process_without_a_cluster_writes_the_files():
    assert distribution.is_chief(distribution.make_strategy("one_device"))
    assert distribution.is_chief(tf.distribute.MirroredStrategy(["CPU:0"]))
