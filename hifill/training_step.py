"""The training step: critic and generator updates as functions of tensors (section 3.5)."""

import keras
import tensorflow as tf

from hifill import losses, optional_losses

# What a float16 critic's score is multiplied by while its input gradient is taken: a gradient of
# norm 1 over a 512 x 512 picture has elements of 1e-3, and float16 has few digits below 6e-5.
_PENALTY_SCALE = 1024.0


def kernel_initializer(name):
    """The initial weights a run may choose.

    Args:
        name: "truncated_normal", sigma 0.05 as in the original, whose first coarse outputs are
            about 1e-10; or "variance_preserving", scaled by fan-in so that a gated ELU layer keeps
            the variance of its input, which learns from the first step.

    Returns:
        A Keras initializer, or None for the original's.
    """
    if name == "truncated_normal":
        return None
    if name == "variance_preserving":
        # sigmoid(0) = 1/2 and E[ELU(z)^2] = 0.65 for a standard normal z: 4 / 0.65.
        return keras.initializers.VarianceScaling(scale=4 / 0.65, mode="fan_in")
    raise ValueError(f"unknown initializer {name!r}")


class TrainingStep(tf.Module):
    """The critic step and the generator step, as functions of tensors.

    images [B, S, S, 3] are RGB in [-1, 1]; masks [B or 1, S, S, 1] are 1 in holes; epsilon [B] in
    [0, 1] interpolates between real (0) and inpainted (1). Both update the variables and return a
    dict of scalars. Nothing random happens inside, and XLA can compile them. Inside the replicas of
    a tf.distribute strategy, B is the replica's share and the gradients are averaged.

    Args:
        generator: a `Generator`.
        discriminator: a `Discriminator`, or None to train on reconstruction alone.
        recipe: a `losses.LossRecipe`.
        learning_rate, betas: of both Adam optimizers (epsilon is 1e-8).
        coarse_only: train the coarse network alone, as a start; it takes a tenth of the time.
        accumulate: parts into which a batch is split to save memory; the update is the whole
            batch's. Takes masks of the batch's size.
        feature_extractor: for the perceptual and style terms, see
            `optional_losses.load_feature_extractor`.
        compile_gradients: compile the gradients alone with XLA, where the whole step cannot be
            because replicas exchange them.

    Raises:
        ValueError: if coarse_only comes with a discriminator.
    """

    def __init__(
        self,
        generator,
        discriminator,
        recipe,
        learning_rate=1e-4,
        betas=(0.5, 0.9),
        coarse_only=False,
        accumulate=1,
        feature_extractor=None,
        compile_gradients=False,
    ):
        super().__init__()
        if coarse_only and discriminator is not None:
            raise ValueError(
                "training the coarse network alone takes no critic steps; add --critic_steps=0"
            )
        self.generator = generator
        self.trained_network = generator.coarse_network if coarse_only else generator
        self.discriminator = discriminator
        self.recipe = recipe
        self.accumulate = accumulate
        self.feature_extractor = feature_extractor
        self.generator_optimizer = _adam(learning_rate, betas, self.trained_network)
        self.discriminator_optimizer = None
        if discriminator is not None:
            self.discriminator_optimizer = _adam(learning_rate, betas, discriminator)
        self._critic_gradients = self.critic_gradients
        self._generator_gradients = self.generator_gradients
        if compile_gradients:
            self._critic_gradients = tf.function(
                self.critic_gradients, jit_compile=True, autograph=False
            )
            self._generator_gradients = tf.function(
                self.generator_gradients, jit_compile=True, autograph=False
            )

    def iteration(self, images, masks, epsilon):
        """All critic steps and the generator step, each on pictures of its own.

        Args:
            images: uint8 [steps, B, S, S, 3] RGB; the last of the first axis is for the generator.
            masks: uint8 [steps, B, S, S, 1], 1 = hole.
            epsilon: float32 [steps, B].

        Returns:
            Dict of scalars; those of the critic are means over its steps.
        """
        history = []
        for i in range(images.shape[0] - 1):
            history.append(self.critic_step(*network_range(images[i], masks[i]), epsilon[i]))
        metrics = {}
        if history:
            metrics = {k: tf.add_n([m[k] for m in history]) / len(history) for k in history[0]}
        return {**metrics, **self.generator_step(*network_range(images[-1], masks[-1]))}

    def critic_step(self, images, masks, epsilon):
        """One update of the critic (equation 9, or the hinge loss)."""
        gradients, metrics = self._over_parts(self._critic_gradients, images, masks, epsilon)
        norm = self._update(self.discriminator_optimizer, self.discriminator, gradients)
        return {**metrics, "gradient_norm/critic": norm}

    def generator_step(self, images, masks):
        """One update of both generator networks (equations 13 and 14)."""
        gradients, metrics = self._over_parts(self._generator_gradients, images, masks)
        norm = self._update(self.generator_optimizer, self.trained_network, gradients)
        return {**metrics, "gradient_norm/generator": norm}

    def critic_gradients(self, images, masks, epsilon):
        """(Gradients of the critic's variables, times the loss scale; dict of scalars.)"""
        critic, recipe = self.discriminator, self.recipe
        _, refined, _ = self.generate(images * (1 - masks), masks)
        inpainted = self.inpainted(refined, images, masks)
        with tf.GradientTape() as tape:
            if recipe.hinge:
                scores = critic(tf.concat([images, inpainted], axis=0), training=True)
                real, fake = tf.split(scores, 2)
                loss = optional_losses.hinge_critic(real, fake)
                metrics = {"score_gap": tf.reduce_mean(real) - tf.reduce_mean(fake)}
            else:
                half = critic.compute_dtype == "float16"
                wasserstein, penalty = losses.critic_losses(
                    critic, images, inpainted, epsilon, recipe, _PENALTY_SCALE if half else 1.0
                )
                loss = wasserstein + penalty
                metrics = {"wasserstein_estimate": -wasserstein, "loss/gradient_penalty": penalty}
            scaled = self.discriminator_optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, critic.trainable_variables)
        return gradients, {"loss/critic": loss, **metrics}

    def generator_gradients(self, images, masks):
        """(Gradients of the trained network's variables, times the loss scale; dict of scalars.)"""
        with tf.GradientTape() as tape:
            coarse, refined, _ = self.generate(images * (1 - masks), masks)
            terms = self._generator_terms(images, masks, coarse, refined)
            loss = tf.add_n([weight * value for weight, value in terms.values()])
            scaled = self.generator_optimizer.scale_loss(loss)
        variables = self.trained_network.trainable_variables
        gradients = tape.gradient(scaled, variables)
        metrics = {f"loss/{name}": value for name, (_, value) in terms.items()}
        return gradients, {
            "loss/generator": loss,
            **metrics,
            "hole_l1_grey_levels": self._hole_error(refined, images, masks),
            "coarse_hole_l1_grey_levels": self._hole_error(coarse, images, masks),
            "context_l1_grey_levels": _grey_levels(refined - images, 1 - masks),
            "hole_share": tf.reduce_mean(masks),
        }

    def _hole_error(self, drawn, images, masks):
        return _grey_levels(self.inpainted(drawn, images, masks) - images, masks)

    def _generator_terms(self, images, masks, coarse, refined):
        """Dict from term to (weight, value)."""
        recipe = self.recipe
        inpainted = self.inpainted(refined, images, masks)
        hole, context = losses.reconstruction_losses(images, coarse, refined, masks, recipe)
        terms = {"hole": (recipe.hole, hole), "context": (recipe.context, context)}
        if self.discriminator is not None:
            fake_features, fake = self.discriminator.features(inpainted)
            terms["adversarial"] = recipe.adversarial, -tf.reduce_mean(fake)
            if recipe.feature_matching:
                real_features, _ = self.discriminator.features(images)
                terms["feature_matching"] = (
                    recipe.feature_matching,
                    optional_losses.feature_matching(real_features, fake_features),
                )
        if self.feature_extractor is not None:
            perceptual, style = optional_losses.perceptual_and_style(
                self.feature_extractor, images, refined, inpainted
            )
            terms["perceptual"] = recipe.perceptual, perceptual
            terms["style"] = recipe.style, style
        if recipe.total_variation:
            variation = optional_losses.total_variation(inpainted, masks)
            terms["total_variation"] = recipe.total_variation, variation
        return terms

    def inpainted(self, drawn, images, masks):
        """The photo with its hole filled as the recipe judges it, from what a network drew."""
        return losses.composite(losses.fill(drawn, images, masks, self.recipe), images, masks)

    def set_learning_rate(self, learning_rate):
        """Changes the learning rate of both optimizers."""
        for optimizer in (self.generator_optimizer, self.discriminator_optimizer):
            if optimizer is not None:
                optimizer.learning_rate = learning_rate

    def loss_scales(self):
        """Dict from network to the variable its loss is scaled by; empty without float16."""
        optimizers = {"generator": self.generator_optimizer, "critic": self.discriminator_optimizer}
        return {
            name: optimizer.dynamic_scale
            for name, optimizer in optimizers.items()
            if isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        }

    def generate(self, masked, masks, generator=None):
        """What is trained, or the same part of another generator: `Generator`'s results, float32.

        While only the coarse network is trained, its picture stands for the refined one too, and
        the attention is zero.
        """
        generator = generator or self.generator
        if self.trained_network is self.generator:
            return generator([masked, masks])
        picture = generator.coarse_network(tf.concat([masked, masks], axis=-1))
        coarse = tf.cast(picture, tf.float32)
        rows, columns = masked.shape[1] // 16, masked.shape[2] // 16
        return coarse, coarse, tf.zeros([masked.shape[0], rows, columns, rows * columns])

    def _over_parts(self, compute, *tensors):
        """The mean of a gradient function over the parts of a batch, one after the other."""
        if self.accumulate == 1:
            return compute(*tensors)
        # [B, ...] -> [parts, B / parts, ...]
        parts = [tf.reshape(t, [self.accumulate, -1, *t.shape[1:]]) for t in tensors]
        first = compute(*[part[0] for part in parts])

        def add(i, total):
            return i + 1, tf.nest.map_structure(tf.add, total, compute(*[p[i] for p in parts]))

        _, total = tf.while_loop(
            lambda i, _: i < self.accumulate, add, [1, first], parallel_iterations=1
        )
        return tf.nest.map_structure(lambda value: value / self.accumulate, total)

    def _update(self, optimizer, network, gradients):
        """Applies the gradients, averaged over replicas; returns their norm."""
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        if replicas > 1:
            # Keras would sum them too, but looks for overflow before it does, where replicas can
            # disagree. Its own sum then adds equal parts.
            context = tf.distribute.get_replica_context()
            gradients = context.all_reduce(tf.distribute.ReduceOp.MEAN, gradients)
        norm = tf.linalg.global_norm(gradients) / optimizer.scale_loss(1.0)
        parts = [gradient / replicas for gradient in gradients] if replicas > 1 else gradients
        optimizer.apply(parts, network.trainable_variables)
        return norm


def network_range(images, masks):
    """What the networks take: uint8 pictures as float32 in [-1, 1], uint8 masks as float32."""
    return tf.cast(images, tf.float32) / 127.5 - 1, tf.cast(masks, tf.float32)


def _grey_levels(difference, weight):
    """Mean absolute difference where weight is 1, in grey levels of 0 to 255."""
    error = tf.reduce_sum(tf.abs(difference) * weight) / tf.maximum(tf.reduce_sum(weight), 1.0)
    return error * 127.5 / difference.shape[-1]


def _adam(learning_rate, betas, network):
    """A built Adam; with float16 inside loss scaling."""
    optimizer = keras.optimizers.Adam(learning_rate, beta_1=betas[0], beta_2=betas[1], epsilon=1e-8)
    if network.compute_dtype == "float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(network.trainable_variables)
    return optimizer
