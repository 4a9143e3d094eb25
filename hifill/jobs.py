"""Which files belong together: each photo, its mask, and where the result goes."""

import collections
import dataclasses
import os
import pathlib

from hifill import image_io


@dataclasses.dataclass(frozen=True)
class Job:
    """The files of one photo; `mask` is None where there is none for it."""

    photo: pathlib.Path
    mask: pathlib.Path | None
    output: pathlib.Path
    comparison: pathlib.Path | None


def plan_jobs(photos, masks, output, comparisons=None):
    """Which mask and which output files belong to which photo.

    Args:
        photos, masks, output: files or folders, as given to the command.
        comparisons: a folder, or None.

    Returns:
        List of `Job`.

    Raises:
        ValueError: if the combination makes no sense, a folder holds no photo, or an output would
            overwrite an input or another output.
    """
    for value, flag in ((masks, "--mask"), (output, "--output")):
        if not value:
            raise ValueError(f"{flag} is empty; name a file or folder")
    as_folder = output.endswith(("/", os.sep))
    photos, masks, output = pathlib.Path(photos), pathlib.Path(masks), pathlib.Path(output)
    for path, name in ((photos, "photo"), (masks, "mask")):
        if not path.exists():
            raise ValueError(f"{path}: no such {name} file or folder")
    if photos.is_dir():
        found = _photos_in(photos, masks, [masks, output, pathlib.Path(comparisons or output)])
        is_file_name = output.suffix.lower() in image_io.SUFFIXES and not as_folder
        if not output.is_dir() and (output.exists() or is_file_name):
            raise ValueError(f"{output}: is no folder; for a folder of photos name a folder")
        outputs = [output / path.relative_to(photos) for path in found]
        root = photos
    else:
        found, root = [photos], photos.parent
        as_folder = as_folder or output.is_dir() or not output.suffix
        outputs = [output / photos.name if as_folder else output]
        if outputs[0].suffix.lower() not in image_io.SUFFIXES:
            raise ValueError(
                f"{outputs[0]}: unknown output format; use one of {' '.join(image_io.SUFFIXES)}"
            )
    chosen = [masks] * len(found)
    if masks.is_dir():
        by_stem = collections.defaultdict(list)
        for path in image_io.list_photos(masks):
            by_stem[path.relative_to(masks).with_suffix("")].append(path)
        beside = masks.resolve() == root.resolve()
        chosen = [_find_mask(photo, photo.relative_to(root), by_stem, beside) for photo in found]
    shown = [None] * len(found)
    if comparisons:
        folder = pathlib.Path(comparisons)
        shown = [
            folder / (path.relative_to(output) if as_folder or photos.is_dir() else path.name)
            for path in outputs
        ]
        stems = collections.Counter(path.with_suffix("") for path in shown)
        shown = [
            path.with_name(f"{path.name}.png")
            if stems[path.with_suffix("")] > 1
            else path.with_suffix(".png")
            for path in shown
        ]
    _refuse_overwriting([*found, *chosen], [*outputs, *shown])
    return [Job(*files) for files in zip(found, chosen, outputs, shown, strict=True)]


def _photos_in(folder, masks, others):
    """The photos of a folder, without masks and earlier results that lie in it too."""
    inner = {path.resolve() for path in others} - {folder.resolve()}
    found = image_io.list_photos(folder)
    found = [p for p in found if not inner & {p.resolve(), *p.resolve().parents}]
    if masks.resolve() == folder.resolve():
        names = {path.with_suffix("") for path in found}
        found = [path for path in found if _masked_stem(path.with_suffix("")) not in names]
    if not found:
        raise ValueError(f"{folder}: no photos in it; they end in {' '.join(image_io.SUFFIXES)}")
    return found


def _masked_stem(stem):
    """The photo that a mask's name points at: a/beach for a/beach_mask; None for other names."""
    for ending in ("_mask", ".mask"):
        if stem.name.endswith(ending):
            return stem.with_name(stem.name.removesuffix(ending) or ending)
    return None


def _find_mask(photo, relative, by_stem, beside_photos):
    stem = relative.with_suffix("")
    names = [f"{stem.name}_mask", f"{stem.name}.mask"]
    if not beside_photos:  # where the same name would be another photo
        names += [relative.name, stem.name]
    for name in names:
        for mask in by_stem.get(stem.with_name(name), ()):
            if mask.resolve() != photo.resolve():
                return mask
    return None


def _refuse_overwriting(inputs, outputs):
    taken = {path.resolve() for path in inputs if path}
    for path in outputs:
        if path and path.resolve() in taken:
            raise ValueError(
                f"{path}: would overwrite an input or another output; choose another output"
            )
        if path:
            taken.add(path.resolve())
