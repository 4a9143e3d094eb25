"""Checkpoints of a training run: everything needed to continue it exactly."""

import logging
import pathlib
import re
import shutil

import tensorflow as tf

_log = logging.getLogger(__name__)


class RunCheckpoints:
    """The checkpoints in a folder, the newest few kept.

    Args:
        folder: where they are; made when the first one is saved.
        keep: how many are kept.
        **state: what they hold: tf.Modules, variables, or anything else that tf.train.Checkpoint
            takes.

    Attributes:
        latest: prefix of the checkpoint that was saved or restored last, or None.
    """

    def __init__(self, folder, keep=3, **state):
        self._folder = pathlib.Path(folder)
        self.latest = None
        self._checkpoint = tf.train.Checkpoint(**state)
        self._manager = tf.train.CheckpointManager(
            self._checkpoint, str(self._folder), max_to_keep=keep
        )

    def paths(self):
        """Prefixes of the checkpoints in the folder, oldest first."""
        # Not from the `checkpoint` file that TensorFlow keeps: it too may be lost or cut off.
        numbered = [
            (int(match[1]), path.with_suffix(""))
            for path in self._folder.glob("ckpt-*.index")
            if (match := re.fullmatch(r"ckpt-(\d+)\.index", path.name))
        ]
        return [str(path) for _, path in sorted(numbered)]

    def save(self, number):
        """Writes a checkpoint; older ones are only deleted after that.

        Raises:
            ValueError: if it cannot be written; the earlier ones are untouched.
        """
        try:
            self.latest = self._manager.save(checkpoint_number=number)
        except (tf.errors.OpError, OSError) as error:
            reason = str(getattr(error, "message", error)).splitlines()[0]
            for half_written in self._folder.glob(f"ckpt-{number}_temp*"):
                shutil.rmtree(half_written, ignore_errors=True)
            raise ValueError(
                f"{self._folder}: checkpoint {number} cannot be written ({reason}); free some "
                f"space, then start again: it continues from {self.latest or 'the start'}"
            ) from error

    def restore(self):
        """Restores the newest checkpoint that is whole.

        A damaged one is skipped with a warning.

        Returns:
            Its prefix, or None if there is no checkpoint at all.

        Raises:
            ValueError: if there are checkpoints, but none is whole.
        """
        paths = self.paths()
        for path in reversed(paths):
            try:
                self._checkpoint.restore(path).assert_consumed()
            except (tf.errors.OpError, ValueError, IndexError, AssertionError) as error:
                reason = str(getattr(error, "message", error)).splitlines()[0][:200]
                _log.warning("%s is damaged or of another run, skipped: %s", path, reason)
            else:
                self.latest = path
                return path
        if paths:
            raise ValueError(
                f"{self._folder}: none of its {len(paths)} checkpoints can be read; choose "
                "another --workdir, with --init_from if there are weights to start from"
            )
        return None
