"""python tests/two_devices.py CONFIG RESULT: one iteration on two logical CPU devices.

CONFIG: JSON, a `TrainingConfig` of a new run with the strategy "mirrored". RESULT: an .npz file for
the pictures, masks and epsilon that each replica got, and its scalars. A script of its own, since
devices can be split at the start of a process alone.
"""

import json
import sys

import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from hifill import distribution  # noqa: E402
from hifill.training import Trainer, TrainingConfig  # noqa: E402

config = TrainingConfig(**json.loads(sys.argv[1]))
trainer = Trainer(config)
strategy = trainer.strategy
assert strategy.num_replicas_in_sync == 2
steps = config.critic_steps + 1
element = next(distribution.iterator(strategy, trainer.samples, config.batch_size, steps, 0))
shares = [strategy.experimental_local_results(tensor) for tensor in element]
# Not compiled, which would take ten times as long.
metrics = strategy.run(trainer.step.iteration, args=element)
metrics = {name: strategy.experimental_local_results(value) for name, value in metrics.items()}
shares = dict(zip(("images", "masks", "epsilon"), shares, strict=True))
np.savez(sys.argv[2], **shares, **metrics)
trainer.iteration.assign_add(1)
trainer.save()
