"""HiFill for TensorFlow 2: fills holes in photographs, from 512 pixels to 8K."""

from hifill.discriminator import Discriminator
from hifill.generator import Generator

__all__ = ["Discriminator", "Generator"]
__version__ = "0.1.0"
