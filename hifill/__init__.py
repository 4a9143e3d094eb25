"""HiFill for TensorFlow 2: fills holes in photographs, from 512 pixels to 8K."""

import importlib

__version__ = "0.1.0"

# Imported at first use, so that a command's --help need not wait for TensorFlow.
_MODULES = {
    "Discriminator": "discriminator",
    "Generator": "generator",
    "HighResolutionInpainter": "highres",
    "Inpainter": "inpaint",
    "load_weights": "weights",
}
__all__ = list(_MODULES)


def __getattr__(name):
    if name in _MODULES:
        return getattr(importlib.import_module(f"hifill.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'hifill' has no attribute {name!r}")


def __dir__():
    return [*globals(), *__all__]
