"""The folder of a training run, while one process writes it."""

import contextlib
import dataclasses
import json
import pathlib

from hifill import locks, summaries
from hifill.image_io import replace_file


class RunFolder:
    """Writes a run's settings, weights, curves and pictures. No two processes can at once.

    Nothing is touched before it is `opened`.

    Args:
        path: the folder.
        config: the run's `TrainingConfig`.
        writes: False makes every method do nothing, for the workers of a cluster but the first.
    """

    def __init__(self, path, config, writes=True):
        self.path = pathlib.Path(path)
        self._config = config
        self._writes = writes
        self._lock = self._log = None

    def check_new(self):
        """Checks that a new run may begin here.

        Raises:
            ValueError: if the folder holds weights of a run whose checkpoints are gone.
        """
        weights = self.path / "generator.weights.h5"
        if weights.exists():
            raise ValueError(
                f"{self.path}: holds the weights of a run, but no checkpoint to continue it from; "
                f"choose another --workdir, with --init_from={self.path} to start from them"
            )

    @contextlib.contextmanager
    def opened(self, iteration):
        """Locks the folder, writes `config.json`, and drops summaries later than `iteration`.

        Within itself it does nothing.

        Raises:
            ValueError: if another process trains in the folder, or it cannot be written.
        """
        if self._log is not None:
            yield
            return
        try:
            self._open(iteration)
            yield
        finally:
            if self._log is not None:
                self._log.close()
            if self._lock is not None:
                self._lock.close()
            self._lock = self._log = None

    def _open(self, iteration):
        if not self._writes:
            self._log = summaries.RunLog(None)
            return
        with self._one_line_errors():
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.path / ".lock", "w")  # noqa: SIM115, closed by `opened`
            other = "another process trains here; stop it, or choose another --workdir"
            locks.lock(self._lock, f"{self.path}: {other}")
            settings = dataclasses.asdict(self._config)
            replace_file(self.path / "config.json", json.dumps(settings, indent=1).encode())
            self._log = summaries.RunLog(self.path, iteration)
            self._log.text("flags", summaries.flags_table(settings), iteration)

    def write(self, iteration, scalars=None, pictures=None, histograms=None):
        """Writes summaries while the folder is opened.

        Args:
            iteration: int.
            scalars: dict from name to number, see `summaries.RunLog.scalars`.
            pictures: dict from name to uint8 [H, W, 3].
            histograms: dict from name to array.

        Raises:
            ValueError: if they cannot be written.
        """
        with self._one_line_errors():
            if scalars:
                self._log.scalars(iteration, scalars)
            for name, picture in (pictures or {}).items():
                self._log.image(iteration, name, picture)
            for name, values in (histograms or {}).items():
                self._log.histogram(iteration, name, values)

    @contextlib.contextmanager
    def _one_line_errors(self):
        try:
            yield
        except OSError as error:
            raise ValueError(
                f"{self.path}: cannot be written ({error.strerror or error}); free some space or "
                "choose another --workdir"
            ) from error
