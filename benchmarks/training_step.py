"""Speed and memory of training steps: python benchmarks/training_step.py

Rows are printed as they are measured, each by a process of its own, so that neither memory nor what
is compiled carries over; one that fails is a row too. "compile" is the first call less the median
of the later ones, which "seconds" is; "spread" is from the fastest to the slowest of these. An
iteration takes 5 critic steps and a generator step, 6 times the batch in photos. "memory" is the
peak of the GPU if there is one, else of the process.
"""

import argparse
import multiprocessing
import os
import resource
import statistics
import time

# What is trained, and the settings that make it so.
STEPS = {
    "coarse network, reconstruction": {"critic_steps": 0, "coarse_only": True},
    "both networks, reconstruction": {"critic_steps": 0},
    "critic": {},
    "iteration, one call": {},
    "iteration, six calls": {},
}
_COLUMNS = "size,dtype policy,XLA,step,compile,seconds,spread,seconds per photo,memory"
_SECONDS = 2  # Quick steps are repeated at least this long.


def one_call(kind, step, critic_steps, xla):
    """(Function of (images, masks, epsilon) that takes a step, how many photos it uses of each)."""
    import tensorflow as tf

    from hifill.training_step import network_range

    def compiled(function):
        return tf.function(function, jit_compile=xla, autograph=False)

    def critic_step(images, masks, epsilon):
        return step.critic_step(*network_range(images, masks), epsilon)

    def generator_step(images, masks):
        return step.generator_step(*network_range(images, masks))

    critic, generator = compiled(critic_step), compiled(generator_step)

    def six_calls(images, masks, epsilon):
        calls = [critic(images[i], masks[i], epsilon[i]) for i in range(critic_steps)]
        return [*calls, generator(images[-1], masks[-1])]

    if kind == "critic":
        return (lambda images, masks, epsilon: critic(images[0], masks[0], epsilon[0])), 1
    if kind == "iteration, six calls":
        return six_calls, critic_steps + 1
    return compiled(step.iteration), critic_steps + 1


def peak_megabytes():
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def measure(size, policy, xla, kind, batch_size, repeats):
    """Dict of `compile`, `seconds` (a list), `photos` used by a call, and `megabytes`."""
    import numpy as np
    import tensorflow as tf

    from hifill.training_config import TrainingConfig, build_step

    config = TrainingConfig("", "", image_size=size, dtype_policy=policy, **STEPS[kind])
    call, steps = one_call(kind, build_step(config), config.critic_steps, xla)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (steps, batch_size, size, size, 3), np.uint8)
    masks = np.zeros((steps, batch_size, size, size, 1), np.uint8)
    masks[:, :, size // 4 : size // 2, size // 4 : size // 2] = 1
    epsilon = rng.random((steps, batch_size), np.float32)
    element = [tf.constant(array) for array in (images, masks, epsilon)]

    def seconds():
        start = time.perf_counter()
        # The numbers come only after the device has done its work.
        tf.nest.map_structure(float, call(*element))
        return time.perf_counter() - start

    first, later = seconds(), []
    while len(later) < repeats or sum(later) < _SECONDS:
        later.append(seconds())
    return {
        "compile": first - statistics.median(later),
        "seconds": later,
        "photos": steps * batch_size,
        "megabytes": peak_megabytes(),
    }


def _send(connection, arguments):
    try:
        connection.send(measure(*arguments))
    except Exception as error:
        text = str(getattr(error, "message", error)).strip() or "no message"
        connection.send(f"{type(error).__name__}: {text.splitlines()[0][:100]}")


def measure_apart(*arguments):
    """What `measure` returns, from a process of its own; a line of text if that fails."""
    spawn = multiprocessing.get_context("spawn")
    receiver, sender = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_send, args=(sender, arguments))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        process.join()
        return f"ended by signal {-process.exitcode}, 9 is lack of memory"
    finally:
        process.join()


def environment():
    """A line about what measures."""
    import tensorflow as tf

    details = tf.config.experimental.get_device_details
    gpus = tf.config.list_physical_devices("GPU")
    gpus = [details(gpu).get("device_name", "GPU") for gpu in gpus]
    where = f"{os.cpu_count()} CPU cores, {', '.join(gpus) or 'no GPU'}"
    return f"TensorFlow {tf.__version__}, {where}"


def print_environment():
    """Prints `environment` of a process of its own: TensorFlow takes all of a GPU's memory."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.apply(environment), flush=True)


def row(result, *configuration):
    cells = [*configuration[:2], "yes" if configuration[2] else "no", configuration[3]]
    if isinstance(result, str):
        cells += [result, "", "", "", ""]
    else:
        median = statistics.median(result["seconds"])
        spread = f"{min(result['seconds']):.3g} to {max(result['seconds']):.3g}"
        cells += [f"{result['compile']:.1f} s", f"{median:.3g}", spread]
        cells += [f"{median / result['photos']:.3g}", f"{result['megabytes']:.0f} MB"]
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="256,512", help="sides of the pictures")
    parser.add_argument("--batch_size", type=int, default=1, help="pictures per step")
    parser.add_argument("--policies", default="float32,mixed_bfloat16", help="or mixed_float16")
    parser.add_argument("--xla", choices=["both", "on", "off"], default="both")
    parser.add_argument("--steps", default="", help="only those whose name contains this")
    parser.add_argument("--repeats", type=int, default=3, help="calls after the first, at least")
    arguments = parser.parse_args()
    print_environment()
    columns = _COLUMNS.split(",")
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|", flush=True)
    for size in arguments.sizes.split(","):
        for policy in arguments.policies.split(","):
            for xla in {"both": [False, True], "on": [True], "off": [False]}[arguments.xla]:
                for kind in [kind for kind in STEPS if arguments.steps in kind]:
                    configuration = int(size), policy, xla, kind
                    result = measure_apart(*configuration, arguments.batch_size, arguments.repeats)
                    print(row(result, *configuration), flush=True)


if __name__ == "__main__":
    main()
