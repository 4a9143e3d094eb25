"""The generator: a coarse network, then a refine network with contextual attention.

Both are built from tables of layers that can be held against the paper's appendix.
"""

from typing import NamedTuple

import keras
import tensorflow as tf

from hifill.attention import AttentionTransfer, ContextualAttention, overlap_attention
from hifill.layers import GatedConv2D, downsample_by_two, upsample_by_two


class Row(NamedTuple):
    """One layer of a table: kernel, stride, dilation, channels, and whether x2 comes first."""

    name: str
    k: int
    s: int
    d: int
    c: int
    up: bool = False


def _repeat(pattern, first, last, d=1):
    return tuple(Row(pattern.format(i), 3, 1, d, 64) for i in range(first, last + 1))


_COARSE_ENTRY = (
    Row("c_en_down_128", 5, 2, 1, 32),
    Row("c_en_conv_128", 3, 1, 1, 32),
    Row("c_en_down_64", 3, 2, 1, 64),
)

# The input is halved first; the output is doubled last.
COARSE = {
    "released": (
        *_COARSE_ENTRY,
        *_repeat("c_en_conv{}_64", 1, 3),
        *_repeat("c_dil_d{}", 1, 3),
        *_repeat("c_dil_d{}", 4, 8, d=2),
        *_repeat("c_dil_d{}", 9, 12, d=4),
        *_repeat("c_dil_d{}", 13, 14, d=8),
        *_repeat("c_de_conv{}_64", 1, 3),
        Row("c_de_up_128", 3, 1, 1, 32, up=True),
        Row("c_de_conv_128", 3, 1, 1, 32),
        Row("c_de_toRGB", 3, 1, 1, 3, up=True),
    ),
    "paper": (
        *_COARSE_ENTRY,
        *_repeat("c_en_conv{}_64", 1, 5),
        *_repeat("c_dil_d{}", 1, 6, d=2),
        *_repeat("c_dil_d{}", 7, 11, d=4),
        *_repeat("c_dil_d{}", 12, 13, d=8),
        *_repeat("c_de_conv{}_64", 1, 4),
        Row("c_de_up_128", 3, 1, 1, 32, up=True),
        Row("c_de_toRGB", 3, 1, 1, 3, up=True),
    ),
}


def _refine_table(first_kernel, dilations):
    # Branch by branch, in the order in which they run; "# P" marks what attention reads.
    return {
        "encoder_256": (
            Row("re_en_down_256", first_kernel, 2, 1, 32),
            Row("re_en_conv_256", 3, 1, 1, 32),  # P1
        ),
        "encoder_128": (
            Row("re_en_down_128", 3, 2, 1, 64),
            Row("re_en_conv_128", 3, 1, 1, 64),  # P2
        ),
        "encoder_64": (
            Row("re_en_down_64", 3, 2, 1, 128),
            Row("re_en_conv_64", 3, 1, 1, 128),
            *(Row(f"re_dil_d{d}", 3, 1, d, 128) for d in dilations),  # P3
        ),
        "attention_64": (Row("re_att_64_att1", 3, 1, 1, 128),),
        "attention_128": (
            Row("re_de_att_128_1", 3, 1, 1, 64),
            Row("re_de_att_128_2", 3, 1, 2, 64),
        ),
        "attention_256": (
            Row("re_de_att_256_1", 3, 1, 1, 32),
            Row("re_de_att_256_2", 3, 1, 2, 32),
        ),
        "decoder_128": (  # after concat [P3, attention_64]
            Row("re_att_64_att3", 3, 1, 1, 128),
            Row("re_de_up__128", 3, 1, 1, 64, up=True),
            Row("re_de_conv_128", 3, 1, 1, 64),
        ),
        "decoder_256": (  # after concat [attention_128, decoder_128]
            Row("re_de_up__256", 3, 1, 1, 32, up=True),
            Row("re_de_conv_256", 3, 1, 1, 32),
        ),
        "decoder_512": (  # after concat [attention_256, decoder_256]
            Row("re_de_toRGB__256", 3, 1, 1, 3, up=True),
        ),
    }


REFINE = {
    "released": _refine_table(first_kernel=3, dilations=(1, 2, 4, 8, 16)),
    "paper": _refine_table(first_kernel=5, dilations=(2, 4, 8, 16)),
}
_REFINE_INPUTS = {
    "encoder_256": 4,
    "encoder_128": 32,
    "encoder_64": 64,
    "attention_64": 128,
    "attention_128": 64,
    "attention_256": 32,
    "decoder_128": 256,
    "decoder_256": 128,
    "decoder_512": 64,
}


def _check_architecture(architecture):
    if architecture not in COARSE:
        raise ValueError(f"unknown architecture {architecture!r}, choose one of {list(COARSE)}")


class _TableModel(keras.Model):
    """What the two networks share: layers made from rows, by name, built at once."""

    def __init__(self, architecture, gate, kernel_initializer, **kwargs):
        super().__init__(**kwargs)
        _check_architecture(architecture)
        self.architecture = architecture
        self.gate = gate
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def _add_rows(self, rows, channels):
        for row in rows:
            layer = GatedConv2D(
                row.c,
                row.k,
                row.s,
                row.d,
                gate=self.gate,
                upsample=row.up,
                kernel_initializer=self.kernel_initializer,
                name=row.name,
                dtype=self.dtype_policy,
            )
            layer.build((None, None, None, channels))
            setattr(self, row.name, layer)
            channels = row.c

    def _run_rows(self, rows, x):
        for row in rows:
            x = getattr(self, row.name)(x)
        return x

    def build(self, input_shape=None):
        self.built = True

    def get_config(self):
        initializer = self.kernel_initializer
        return {
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "architecture": self.architecture,
            "gate": self.gate,
            "kernel_initializer": initializer and keras.initializers.serialize(initializer),
        }


@keras.saving.register_keras_serializable("hifill")
class CoarseNetwork(_TableModel):
    """Hallucinates rough content at half size.

    Input [B, H, W, 4] in [-1, 1]: masked image and mask. Output [B, H, W, 3] in [-1, 1].

    Arguments are those of `Generator`.
    """

    def __init__(
        self, architecture="released", gate="single_channel", kernel_initializer=None, **kwargs
    ):
        super().__init__(architecture, gate, kernel_initializer, **kwargs)
        self._add_rows(COARSE[architecture], 4)
        self.build()

    def call(self, x):
        x = self._run_rows(COARSE[self.architecture], downsample_by_two(x))
        return upsample_by_two(tf.clip_by_value(x, -1.0, 1.0))


@keras.saving.register_keras_serializable("hifill")
class RefineNetwork(_TableModel):
    """Sharpens the coarse result with features copied from known regions.

    Call with `[image, mask]`: image [B, H, W, 3] in [-1, 1], holes filled with the coarse result;
    mask [B, H, W, 1], 1 = hole. Returns `(refined, attention)`: [B, H, W, 3] in [-1, 1] and
    float32 [B, H/16, W/16, (H/16)(W/16)].

    Arguments are those of `Generator`.
    """

    def __init__(
        self, architecture="released", gate="pointwise", kernel_initializer=None, **kwargs
    ):
        super().__init__(architecture, gate, kernel_initializer, **kwargs)
        self.table = REFINE[architecture]
        for branch, rows in self.table.items():
            self._add_rows(rows, _REFINE_INPUTS[branch])
        self.contextual_attention = ContextualAttention(dtype=self.dtype_policy)
        self.transfer_64 = AttentionTransfer(dtype=self.dtype_policy)
        self.transfer_128 = AttentionTransfer(cell_size=4, dtype=self.dtype_policy)
        self.transfer_256 = AttentionTransfer(cell_size=8, dtype=self.dtype_policy)
        self.build()

    def call(self, inputs):
        image, mask = inputs
        p1 = self._run("encoder_256", tf.concat([image, mask], axis=-1))
        p2 = self._run("encoder_128", p1)
        p3 = self._run("encoder_64", p2)
        attention = self.contextual_attention([p3, mask])
        cell_attention = overlap_attention(attention)

        attended = self._run("attention_64", self.transfer_64([p3, attention]))
        x = self._run("decoder_128", tf.concat([p3, attended], axis=-1))
        attended = self._run("attention_128", self.transfer_128([p2, cell_attention]))
        x = self._run("decoder_256", tf.concat([attended, x], axis=-1))
        attended = self._run("attention_256", self.transfer_256([p1, cell_attention]))
        x = self._run("decoder_512", tf.concat([attended, x], axis=-1))
        return tf.clip_by_value(x, -1.0, 1.0), attention

    def _run(self, branch, x):
        return self._run_rows(self.table[branch], x)


@keras.saving.register_keras_serializable("hifill")
class Generator(keras.Model):
    """The HiFill generator: `coarse, refined, attention = generator([masked_image, mask])`.

    masked_image [B, H, W, 3] is RGB in [-1, 1] with holes set to 0; mask [B or 1, H, W, 1] is 1 in
    holes and 0 elsewhere; H and W are multiples of 64. Results are float32: coarse and refined
    [B, H, W, 3] in [-1, 1], attention [B, H/16, W/16, (H/16)(W/16)]. Neither picture is pasted
    into the known region.

    Args:
        architecture: "released", that of the authors' checkpoint, or "paper", the appendix of the
            paper read literally.
        coarse_gate, refine_gate: a gate of `GatedConv2D` for each network.
        kernel_initializer: see `GatedConv2D`.

    Raises:
        ValueError: for an unknown architecture or gate.
    """

    def __init__(
        self,
        architecture="released",
        coarse_gate="single_channel",
        refine_gate="pointwise",
        kernel_initializer=None,
        **kwargs,
    ):
        # Pasting stays in float32, whatever the networks compute in.
        super().__init__(autocast=False, **kwargs)
        _check_architecture(architecture)
        self.architecture = architecture
        self.coarse_gate = coarse_gate
        self.refine_gate = refine_gate
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        shared = {"kernel_initializer": self.kernel_initializer, "dtype": self.dtype_policy}
        self.coarse_network = CoarseNetwork(
            architecture, coarse_gate, name="coarse_network", **shared
        )
        self.refine_network = RefineNetwork(
            architecture, refine_gate, name="refine_network", **shared
        )
        self.build()

    def build(self, input_shape=None):
        self.built = True

    def call(self, inputs):
        image, mask = inputs
        mask = mask + tf.zeros_like(image[..., :1])  # one mask may serve the whole batch
        coarse = self.coarse_network(tf.concat([image, mask], axis=-1))
        coarse = tf.cast(coarse, image.dtype)
        refined, attention = self.refine_network([coarse * mask + image, mask])
        return coarse, tf.cast(refined, image.dtype), attention

    def get_config(self):
        initializer = self.kernel_initializer
        return {
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "architecture": self.architecture,
            "coarse_gate": self.coarse_gate,
            "refine_gate": self.refine_gate,
            "kernel_initializer": initializer and keras.initializers.serialize(initializer),
        }
