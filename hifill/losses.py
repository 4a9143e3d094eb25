"""Training losses: reconstruction and WGAN-GP (HiFill paper, section 3.5)."""

import dataclasses

import tensorflow as tf

from hifill.membrane import meet_rim


@dataclasses.dataclass(frozen=True)
class LossRecipe:
    """Weights of the loss terms.

    Attributes:
        hole: weight of the L1 error inside holes (alpha_1 of equation 13).
        context: weight of the L1 error outside (alpha_2).
        coarse: weight of the coarse network's errors relative to the refine network's.
        adversarial: weight of the critic's score (beta of equation 14).
        gradient_penalty: weight of the gradient penalty (sigma of equation 9).
        normalise_context: divide each picture's context error by the mean of its (1 - mask).
        meet_rim: judge the hole as `membrane.meet_rim` makes it of either network's picture. The
            context's error stays that of the picture itself.
        hinge: the critic's hinge loss in place of equation 9, see `optional_losses`.
        perceptual: weight of a term in `optional_losses`, as are the three that follow.
        style: weight of the style loss.
        feature_matching: weight of the critic's features.
        total_variation: weight of the total variation.
    """

    hole: float = 1.0
    context: float = 1.2
    coarse: float = 1.0
    adversarial: float = 1e-4
    gradient_penalty: float = 10.0
    normalise_context: bool = False
    meet_rim: bool = False
    hinge: bool = False
    perceptual: float = 0.0
    style: float = 0.0
    feature_matching: float = 0.0
    total_variation: float = 0.0


RECIPES = {
    "paper": LossRecipe(),
    "released": LossRecipe(hole=1.2, coarse=1.2, adversarial=1e-3, normalise_context=True),
}


def composite(filled, image, mask):
    """Pastes: `filled` where mask is 1, `image` where it is 0. All [B, H, W, C], mask [.., 1]."""
    return filled * mask + image * (1 - mask)


def fill(drawn, image, mask, recipe):
    """What a recipe judges in the hole of a drawn picture: the picture, or `meet_rim` of it."""
    return meet_rim(drawn, image, mask) if recipe.meet_rim else drawn


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

    def errors(coarse, refined):
        return recipe.coarse * tf.abs(image - coarse) + tf.abs(image - refined)

    outside = errors(coarse, refined) * (1 - mask)
    inside = errors(*(fill(drawn, image, mask, recipe) for drawn in (coarse, refined))) * mask
    context = tf.reduce_mean(outside, axis=[1, 2, 3])  # [B]
    if recipe.normalise_context:
        # By picture, so that the mean over parts of a batch is that of the whole.
        context /= tf.reduce_mean(1 - mask, axis=[1, 2, 3])
    return tf.reduce_mean(inside), tf.reduce_mean(context)


def gradient_norms(critic, image, inpainted, epsilon, scale=1.0):
    """Norms of the critic's input gradient between real and inpainted pictures (equation 9).

    Args:
        critic: a `Discriminator`.
        image, inpainted: float tensors [B, H, W, 3] in [-1, 1].
        epsilon: float tensor [B] in [0, 1]; 0 takes the real picture.
        scale: what the score is multiplied by before, and the gradient divided by after it is
            taken, to keep a float16 critic's small gradients from vanishing.

    Returns:
        float32 tensor [B]: the L2 norm over height, width and channels.
    """
    epsilon = tf.reshape(epsilon, [-1, 1, 1, 1])
    between = image + epsilon * (inpainted - image)
    with tf.GradientTape() as tape:
        tape.watch(between)
        score = critic(between) * scale
    gradient = tf.cast(tape.gradient(score, between), tf.float32) / scale
    squares = tf.reduce_sum(tf.square(gradient), axis=[1, 2, 3])
    # Without it, the second derivative is infinite where the gradient vanishes.
    return tf.sqrt(squares + 1e-12)


def critic_losses(critic, image, inpainted, epsilon, recipe, scale=1.0):
    """The critic's loss (equation 9), in its two parts.

    Arguments are those of `gradient_norms`, and a `LossRecipe`.

    Returns:
        (wasserstein, penalty): scalars; the critic minimises their sum.
    """
    count = tf.shape(image)[0]
    scores = critic(tf.concat([image, inpainted], axis=0))
    wasserstein = tf.reduce_mean(scores[count:]) - tf.reduce_mean(scores[:count])
    norms = gradient_norms(critic, image, inpainted, epsilon, scale)
    penalty = recipe.gradient_penalty * tf.reduce_mean(tf.square(norms - 1))
    return wasserstein, penalty
