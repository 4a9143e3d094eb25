"""Training losses: reconstruction and WGAN-GP (HiFill paper, section 3.5)."""

import dataclasses

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class LossRecipe:
    """Weights of the loss terms.

    Attributes:
        hole: weight of the L1 error inside holes (alpha_1 of equation 13).
        context: weight of the L1 error outside (alpha_2).
        coarse: weight of the coarse network's errors relative to the refine network's.
        adversarial: weight of the critic's score (beta of equation 14).
        gradient_penalty: weight of the gradient penalty (sigma of equation 9).
        normalise_context: divide the context error by the mean of (1 - mask).
    """

    hole: float = 1.0
    context: float = 1.2
    coarse: float = 1.0
    adversarial: float = 1e-4
    gradient_penalty: float = 10.0
    normalise_context: bool = False


RECIPES = {
    "paper": LossRecipe(),
    "released": LossRecipe(hole=1.2, coarse=1.2, adversarial=1e-3, normalise_context=True),
}


def composite(filled, image, mask):
    """Pastes: `filled` where mask is 1, `image` where it is 0. All [B, H, W, C], mask [.., 1]."""
    return filled * mask + image * (1 - mask)


def reconstruction_losses(image, coarse, refined, mask, recipe):
    """L1 errors inside and outside the holes (equations 11 and 12), before their weights.

    Args:
        image, coarse, refined: float tensors [B, H, W, 3] in [-1, 1].
        mask: float tensor [B or 1, H, W, 1], 1 = hole.
        recipe: a `LossRecipe`.

    Returns:
        (hole, context): scalars, means over all elements of the batch, the coarse network's
        errors added with `recipe.coarse`.
    """

    def weighted_error(weight):
        coarse_error = tf.reduce_mean(tf.abs(image - coarse) * weight)
        refined_error = tf.reduce_mean(tf.abs(image - refined) * weight)
        return recipe.coarse * coarse_error + refined_error

    context = weighted_error(1 - mask)
    if recipe.normalise_context:
        context /= tf.reduce_mean(1 - mask)
    return weighted_error(mask), context


def gradient_norms(critic, image, inpainted, epsilon):
    """Norms of the critic's input gradient between real and inpainted pictures (equation 9).

    Args:
        critic: a `Discriminator`.
        image, inpainted: float tensors [B, H, W, 3] in [-1, 1].
        epsilon: float tensor [B] in [0, 1]; 0 takes the real picture.

    Returns:
        float32 tensor [B]: the L2 norm over height, width and channels.
    """
    epsilon = tf.reshape(epsilon, [-1, 1, 1, 1])
    between = image + epsilon * (inpainted - image)
    with tf.GradientTape() as tape:
        tape.watch(between)
        score = critic(between)
    gradient = tape.gradient(score, between)
    squares = tf.reduce_sum(tf.square(tf.cast(gradient, tf.float32)), axis=[1, 2, 3])
    # The floor keeps the second derivative finite where the gradient vanishes.
    return tf.sqrt(tf.maximum(squares, 1e-12))


def critic_losses(critic, image, inpainted, epsilon, recipe):
    """The critic's loss (equation 9), in its two parts.

    Args: as `gradient_norms`; recipe: a `LossRecipe`.

    Returns:
        (wasserstein, penalty): scalars; the critic minimises their sum.
    """
    count = tf.shape(image)[0]
    scores = critic(tf.concat([image, inpainted], axis=0))
    wasserstein = tf.reduce_mean(scores[count:]) - tf.reduce_mean(scores[:count])
    norms = gradient_norms(critic, image, inpainted, epsilon)
    penalty = recipe.gradient_penalty * tf.reduce_mean(tf.square(norms - 1))
    return wasserstein, penalty
