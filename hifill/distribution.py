"""Where training runs: one device, several, several machines, or a TPU, with tf.distribute."""

import contextlib
import os
import weakref

import tensorflow as tf

from hifill import data

STRATEGIES = ("one_device", "mirrored", "multi_worker", "tpu")


def make_strategy(name):
    """A tf.distribute strategy.

    Args:
        name: "one_device"; "mirrored": all GPUs of this machine (or its logical CPU devices, where
            it has no GPU); "multi_worker": the machines named in the environment variable
            TF_CONFIG, each with all its GPUs; "tpu": the TPU that the environment names.

    Returns:
        A tf.distribute.Strategy.

    Raises:
        ValueError: if the name is unknown, or the cluster or TPU cannot be reached.
    """
    if name == "one_device":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    try:
        if name == "multi_worker":
            if not os.environ.get("TF_CONFIG"):
                # Every machine would take itself for the only one.
                raise ValueError("TF_CONFIG is not set")
            return tf.distribute.MultiWorkerMirroredStrategy()
        if name == "tpu":
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect()
            return tf.distribute.TPUStrategy(resolver)
    except (tf.errors.OpError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"--strategy={name}: {error}; is TF_CONFIG right?") from error
    raise ValueError(f"unknown strategy {name!r}; one of {', '.join(STRATEGIES)}")


def is_chief(strategy):
    """Whether this process is the one that writes the run's files."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.cluster_spec().as_dict():
        return True
    return resolver.task_type == "chief" or (
        resolver.task_type == "worker"
        and resolver.task_id == 0
        and "chief" not in resolver.cluster_spec().jobs
    )


def iterator(strategy, samples, batch_size, steps, first_sample):
    """An iterator over `data.batches`, each replica with its own share.

    Arguments are those of `data.batches`, and a tf.distribute.Strategy.

    Its `next` raises ValueError, one line, if a sample cannot be made.
    """
    replicas = strategy.num_replicas_in_sync

    def pipeline(context):
        local = replicas // context.num_input_pipelines
        first = context.input_pipeline_id * local
        return data.batches(samples, batch_size, steps, first_sample, replicas, first, local)

    return _Elements(iter(strategy.distribute_datasets_from_function(pipeline)))


class _Elements:
    """An iterator that is gone before Python is.

    Its end waits for the samples under way. They would never come if Python, where they are made,
    had ended first, and the process would hang: after an error nobody caught, whose traceback keeps
    everything alive.
    """

    def __init__(self, elements):
        self._held = [elements]
        weakref.finalize(self, self._held.clear)  # runs at exit too

    def __next__(self):
        try:
            return next(self._held[0])
        except tf.errors.OpError as error:
            # It quotes ours in one of many lines.
            lines = error.message.splitlines()
            raised = [line for line in lines if "Error: " in line] or lines
            raise ValueError(raised[0].split("ImageError: ", 1)[-1]) from error


def check_in_step(strategy, iteration):
    """Checks that all workers start at the same iteration.

    Raises:
        ValueError: if they do not, since their work folder is not shared; or if one is lost.
    """

    def spread():
        context = tf.distribute.get_replica_context()
        value = tf.cast(iteration, tf.float32)
        mean = context.all_reduce(tf.distribute.ReduceOp.MEAN, value)
        return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.abs(value - mean))

    if strategy.num_replicas_in_sync == 1:
        return
    with one_line_errors(iteration):
        total = strategy.experimental_local_results(
            tf.function(lambda: strategy.run(spread), autograph=False)()
        )[0]
        total = float(total)
    # Less than 1 is rounding.
    if total > 0.5:
        raise ValueError(
            f"this worker starts at iteration {int(iteration)}, others elsewhere; --workdir must "
            "be a folder that all workers share"
        )


@contextlib.contextmanager
def one_line_errors(iteration):
    """Turns what a lost worker or too little memory causes into one ValueError."""
    failed = f"iteration {int(iteration) + 1}"
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise ValueError(
            f"{failed}: out of memory; try --accumulate=2, --dtype_policy=mixed_bfloat16 or a "
            "smaller --batch_size"
        ) from error
    except (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.DeadlineExceededError,
        tf.errors.CancelledError,
    ) as error:
        # The cause comes after a stack of calls and before remarks of gRPC.
        cause = error.message.rpartition("is aborted by: ")[2].partition("Additional GRPC")[0]
        raise ValueError(
            f"{failed}: another worker was lost ({cause.strip()[:200]}); start all workers again, "
            "they continue from the last checkpoint"
        ) from error
