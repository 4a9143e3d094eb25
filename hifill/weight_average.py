"""An exponential moving average of a network's weights while it is trained."""

import tensorflow as tf


class WeightAverage(tf.Module):
    """The average of the weights after every update, the recent ones weighing most.

    After update n, average = d average + (1 - d) weights with d = min(decay, (1 + n) / (10 + n)),
    so that the first weights, which are noise, are soon forgotten. Source: Polyak and Juditsky
    1992, "Acceleration of stochastic approximation by averaging"; the start is that of
    tf.train.ExponentialMovingAverage.

    Made in the scope of the strategy that the networks were made in.

    Args:
        network: what is trained.
        average: a network of the same structure; its weights are replaced by those of `network`.
        decay: 0 to 1.

    Attributes:
        network: the average.
    """

    def __init__(self, network, average, decay):
        super().__init__()
        self.network, self._decay = average, decay
        self._strategy = tf.distribute.get_strategy()
        self._pairs = list(zip(average.weights, network.weights, strict=True))
        self._updates = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.reset()

    def reset(self):
        """Starts anew from the weights as they are."""
        for mean, weight in self._pairs:
            mean.assign(weight)
        self._updates.assign(0)

    def update(self):
        """Takes the weights of now in; outside of replicas."""
        count = tf.cast(self._updates.assign_add(1), tf.float32)
        rate = 1 - tf.minimum(tf.cast(self._decay, tf.float32), (1 + count) / (10 + count))
        for mean, weight in self._pairs:
            self._strategy.extended.update(mean.value, _approach, args=(weight.value, rate))


def _approach(mean, weight, rate):
    mean.assign_add((weight - mean) * rate)
