"""The training step: critic and generator updates as functions of tensors (section 3.5)."""

import keras
import tensorflow as tf

from hifill import losses


def kernel_initializer(name):
    """The initial weights a run may choose.

    Args:
        name: "truncated_normal", sigma 0.05 as in the original, whose first coarse outputs are
            about 1e-9; or "variance_preserving", scaled by fan-in so that a gated ELU layer keeps
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
    dict of scalars. Nothing random happens inside, and XLA can compile them.

    Args:
        generator: a `Generator`.
        discriminator: a `Discriminator`, or None to train on reconstruction alone.
        recipe: a `losses.LossRecipe`.
        learning_rate, betas: of both Adam optimizers (epsilon is 1e-8).
        coarse_only: train the coarse network alone, as a start; it takes a tenth of the time.

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
        self.generator_optimizer = _adam(learning_rate, betas)
        self.generator_optimizer.build(self.trained_network.trainable_variables)
        self.discriminator_optimizer = None
        if discriminator is not None:
            self.discriminator_optimizer = _adam(learning_rate, betas)
            self.discriminator_optimizer.build(discriminator.trainable_variables)

    def critic_step(self, images, masks, epsilon):
        """One update of the critic (equation 9)."""
        inpainted = losses.composite(self._generate(images, masks)[1], images, masks)
        with tf.GradientTape() as tape:
            wasserstein, penalty = losses.critic_losses(
                self.discriminator, images, inpainted, epsilon, self.recipe
            )
            loss = wasserstein + penalty
        variables = self.discriminator.trainable_variables
        self.discriminator_optimizer.apply(tape.gradient(loss, variables), variables)
        return {"critic": loss, "wasserstein": -wasserstein, "gradient_penalty": penalty}

    def generator_step(self, images, masks):
        """One update of both generator networks (equations 13 and 14)."""
        recipe = self.recipe
        with tf.GradientTape() as tape:
            coarse, refined = self._generate(images, masks)
            hole, context = losses.reconstruction_losses(images, coarse, refined, masks, recipe)
            loss = recipe.hole * hole + recipe.context * context
            metrics = {"hole": hole, "context": context}
            if self.discriminator is not None:
                inpainted = losses.composite(refined, images, masks)
                adversarial = -tf.reduce_mean(self.discriminator(inpainted))
                loss += recipe.adversarial * adversarial
                metrics["adversarial"] = adversarial
        variables = self.trained_network.trainable_variables
        self.generator_optimizer.apply(tape.gradient(loss, variables), variables)
        hole_share = tf.reduce_mean(masks)
        error = tf.reduce_mean(tf.abs(refined - images) * masks) / tf.maximum(hole_share, 1e-6)
        return {**metrics, "generator": loss, "hole_l1": error * 127.5, "hole_share": hole_share}

    def set_learning_rate(self, learning_rate):
        """Changes the learning rate of both optimizers."""
        for optimizer in (self.generator_optimizer, self.discriminator_optimizer):
            if optimizer is not None:
                optimizer.learning_rate = learning_rate

    def _generate(self, images, masks):
        """Coarse and refined pictures, the same one while only the coarse network is trained."""
        masked = images * (1 - masks)
        if self.trained_network is self.generator:
            coarse, refined, _ = self.generator([masked, masks])
            return coarse, refined
        coarse = self.trained_network(tf.concat([masked, masks], axis=-1))
        return coarse, coarse


def _adam(learning_rate, betas):
    return keras.optimizers.Adam(learning_rate, beta_1=betas[0], beta_2=betas[1], epsilon=1e-8)
