"""Measures by networks whose weights the user gives: LPIPS of pictures, FID and others of sets."""

import hashlib
import io
import pathlib
import zipfile

import numpy as np

from hifill import image_io
from hifill.evaluation.discriminative_score import discriminative_scores
from hifill.evaluation.frechet_distance import frechet_distance_of_sets
from hifill.evaluation.inception_score import inception_score
from hifill.evaluation.metrics import HIGHER, LOWER

SPLITS = 10  # of the Inception Score
# What is better, of the scores of `Networks.scores`.
SET_DIRECTIONS = {
    "fid": LOWER,
    "inception_score": HIGHER,
    "p_ids_percent": HIGHER,
    "u_ids_percent": HIGHER,
}


class Networks:
    """The networks of one run; without files, none. Can be pickled.

    Args:
        lpips: paths for `lpips.Lpips`.
        inception: path for `inception_features.InceptionFeatures`, or None.

    Attributes:
        identities: dict from the name of each network to the SHA-256 of its file. A graph that is
            not that of 2015 is called "inception_like_9f86d081", for example.

    Raises:
        ValueError: one line, if a file is missing or is not what it should be, or there are two of
            one network.
    """

    def __init__(self, lpips=(), inception=None):
        self._files = tuple(lpips), inception
        self._distances, self._inception, self.identities = {}, None, {}
        for path in lpips:
            from hifill.evaluation.lpips import Lpips

            distance = Lpips(path)
            if distance.name in self._distances:
                raise ValueError(f"{path}: a second file of {distance.name}")
            self._distances[distance.name] = distance
            digest = hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
            self.identities[distance.name] = digest
        if inception:
            from hifill.evaluation.inception_features import InceptionFeatures

            self._inception = InceptionFeatures(inception)
            name = self._inception.score_name("inception")
            self.identities[name] = self._inception.sha256

    @property
    def has_scores(self):
        """Whether `scores` has any."""
        return self._inception is not None

    def __reduce__(self):
        """Other processes load the files again."""
        return Networks, self._files

    def measure(self, photo, result):
        """Distances of two pictures, uint8 [H, W, 3]: dict from name to float.

        NaN if a side is shorter than 64 pixels.
        """
        return {
            name: distance(photo, result) if min(photo.shape[:2]) >= distance.MIN_SIDE else np.nan
            for name, distance in self._distances.items()
        }

    def keep_features(self, folder, mask, method, picture):
        """Writes what `scores` needs of a picture, uint8 [H, W, 3], into a report's folder."""
        if not self.has_scores:
            return
        features, probabilities = self._inception(picture[None])
        content = io.BytesIO()
        np.savez(content, features=features[0], probabilities=probabilities[0])
        image_io.replace_file(_path(folder, mask, method), content.getvalue())

    def scores(self, folder, rows):
        """Scores of the results of one method as a set.

        Args:
            folder: of the report.
            rows: of the method, from `runs.run`; those with errors are left out.

        Returns:
            Dict from the names of `SET_DIRECTIONS`, or such as "fid_like_9f86d081", to float; None
            where there are too few pictures, two, or ten for the Inception Score. Empty without an
            Inception file. All of them depend on the number of pictures.
        """
        if not self.has_scores:
            return {}
        rows = [row for row in rows if not row["error"]]
        photos = _read(folder, [(row["mask"], None) for row in rows])[0]
        results, probabilities = _read(folder, [(row["mask"], row["method"]) for row in rows])
        values = dict.fromkeys(SET_DIRECTIONS)
        if len(rows) >= 2:
            values["fid"] = frechet_distance_of_sets(photos, results)
            paired, unpaired = discriminative_scores(photos, results)
            values |= {"p_ids_percent": 100 * paired, "u_ids_percent": 100 * unpaired}
        if len(rows) >= SPLITS:
            values["inception_score"] = inception_score(probabilities, SPLITS)[0]
        return {self._inception.score_name(name): value for name, value in values.items()}


def _path(folder, mask, method):
    stem = pathlib.Path(mask).stem
    name = f"{stem}.npz" if method is None else f"{stem}_{method}.npz"
    return pathlib.Path(folder) / "features" / name


def _read(folder, names):
    """Features [N, C] and probabilities [N, classes] of pictures: (mask, method or None) each."""
    features, probabilities = [], []
    for mask, method in names:
        path = _path(folder, mask, method)
        try:
            with np.load(path) as file:
                features.append(file["features"])
                probabilities.append(file["probabilities"])
        except (OSError, ValueError, LookupError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path}: missing or damaged; choose another --report") from error
    return np.array(features), np.array(probabilities)
