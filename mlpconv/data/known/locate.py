"""Find the files of a data set on this machine, or fetch them, and return their verified contents."""

import logging
import os
from pathlib import Path

from mlpconv.data.cache_directory import cache_directory
from mlpconv.data.known.download import Progress, fetch, remove_damaged
from mlpconv.data.known.source import Location, Source
from mlpconv.data.known.verify import candidate_directories, missing_files, read_files
from mlpconv.errors import DataError

_log = logging.getLogger("mlpconv.data")


def find_or_fetch(
    source: Source,
    *,
    directory: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    download: bool = True,
    progress: Progress | None = None,
) -> tuple[Location, dict[str, bytearray]]:
    """Locate a data set, fetching it into the cache if it is not on this machine.

    Args: As `load_dataset`.

    Returns:
        The location, and the verified contents of the files by role.

    Raises:
        DataError: As `load_dataset`.
    """
    cached = _cached(source, cache)
    if given := _given_directory(directory):
        return _read_given(source, *given, cached)
    failures: list[str] = []
    for location in _standard_locations(source, cached):
        try:
            if missing := missing_files(source, location.path):
                failures.append(
                    f"{location.path}: {f'lacks {missing}' if location.path.is_dir() else 'no such directory'}"
                )
                continue
            contents = read_files(source, location.path)
        except DataError as error:
            failures.append(str(error))
            if location.path == cached:
                _remove_damaged(source, cached)
            else:
                _log.warning("%s; skipped", error)
            continue
        _log.info("%s: found in %s", source.name, location.path)
        return location, contents
    if download:
        try:
            if origin := fetch(source, cached, failures, progress):
                _log.info("%s: now in %s, from %s", source.name, cached, origin)
                return Location(cached, origin), read_files(source, cached)
        except DataError as error:
            failures.append(str(error))
    raise DataError(_not_available(source, cached, failures, download))


def find_locally(
    source: Source,
    *,
    directory: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> Location | None:
    """Where the files of a data set are on this machine, by their names only; None if they are not.

    This is quick: nothing is read, downloaded or removed. The contents are verified when they are loaded.
    """
    if given := _given_directory(directory):
        path, origin = given
        locations = [Location(candidate, origin) for candidate in candidate_directories(source, path)]
    else:
        locations = _standard_locations(source, _cached(source, cache))
    for location in locations:
        try:
            if not missing_files(source, location.path):
                return location
        except DataError as error:
            _log.info("%s; skipped", error)
    return None


def fetch_into(source: Source, directory: str | os.PathLike[str], progress: Progress | None = None) -> Location:
    """Make sure that a directory contains a data set, in a subdirectory of its name or directly.

    Missing files are copied from this machine, or downloaded.

    Raises:
        DataError: As `load_dataset`.
    """
    parent = Path(directory).expanduser()
    for candidate in candidate_directories(source, parent):
        if not missing_files(source, candidate):
            read_files(source, candidate)
            return Location(candidate, "the given directory, which already contained it")
    target = parent / source.name
    failures: list[str] = []
    local = find_locally(source)
    origin = fetch(source, target, failures, progress, [local.path] if local else [])
    if not origin:
        raise DataError(_not_available(source, target, failures, download=True))
    read_files(source, target)
    return Location(target, origin)


def _cached(source: Source, cache: str | os.PathLike[str] | None) -> Path:
    """The directory of a data set in the cache."""
    return cache_directory(cache) / "data" / source.name


def _given_directory(directory: str | os.PathLike[str] | None) -> tuple[Path, str] | None:
    """The directory that the user specified, and how, for messages."""
    if directory:
        return Path(directory).expanduser(), "the given directory"
    if variable := os.environ.get("MLPCONV_DATA"):
        return Path(variable).expanduser(), "MLPCONV_DATA"
    return None


def _standard_locations(source: Source, cached: Path) -> list[Location]:
    locations = [Location(cached, "the cache")]
    if source.debian_directory:
        locations.append(Location(Path(source.debian_directory), f"Debian's package {source.debian_package}"))
    return locations


def _read_given(source: Source, given: Path, origin: str, cached: Path) -> tuple[Location, dict[str, bytearray]]:
    """Read from the directory that the user specified, and from no other one. An archive in it goes into the cache."""
    if source.archive and (given / source.archive.name).is_file() and missing_files(source, given):
        failures: list[str] = []
        if not fetch(source, cached, failures, copy_from=[given], download=False):
            raise DataError(failures[-1])
        return Location(cached, str(given / source.archive.name)), read_files(source, cached)
    for candidate in candidate_directories(source, given):
        if not missing_files(source, candidate):
            return Location(candidate, origin), read_files(source, candidate)
    if not given.is_dir():
        raise DataError(f"{given}: no such directory ({origin}); specify one that contains {source.published_names}")
    raise DataError(
        f"{given}: {origin} lacks {missing_files(source, given)} of {source.name}; put the files there, gzipped or "
        "not, or specify no directory to have the data set located or downloaded"
    )


def _remove_damaged(source: Source, cached: Path) -> None:
    try:
        remove_damaged(source, cached)
    except DataError as error:
        _log.warning("%s", error)  # a read-only cache: continue with the other locations


def _not_available(source: Source, directory: Path, failures: list[str], download: bool) -> str:
    remedies = []
    if source.debian_package:
        remedies.append(f"sudo apt-get install {source.debian_package} (Debian, Ubuntu)")
    if source.urls:
        remedies.append(f"put {source.published_names} into {directory}; they are available at")
        remedies.extend(f"  {url}" for url in source.urls)
    if source.archive:
        remedies.append(f"put {source.archive.name} into DIR, and pass --data-dir DIR; download it from")
        remedies.append(f"  {source.archive.url}")
    remedies.append("if the files are elsewhere, pass --data-dir DIR, or set the environment variable MLPCONV_DATA=DIR")
    if not download:
        remedies.append("allow downloading (download=True)")
    return "\n".join(
        [
            f"{source.name}: not on this machine" + (", and could not be downloaded:" if download else ":"),
            *(f"  {failure}" for failure in failures),
            "To fix this, do one of the following:",
            *(f"  {remedy}" for remedy in remedies),
        ]
    )
