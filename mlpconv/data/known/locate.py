"""Find a data set: in the directory given, the cache, Debian's package, or where it can be fetched from."""

import os
from pathlib import Path

from mlpconv.data.known.descriptors import Location, Source, file_names, folders_in, log, missing_files, read_files
from mlpconv.data.known.download import Progress, drop_damaged, fetch
from mlpconv.errors import DataError


def cache_directory(cache: str | os.PathLike[str] | None = None) -> Path:
    """The cache: `cache`, else MLPCONV_CACHE, else XDG_CACHE_HOME/mlpconv, else ~/.cache/mlpconv.

    A data set's files are in data/NAME below it.
    """
    if chosen := cache or os.environ.get("MLPCONV_CACHE"):
        return Path(chosen).expanduser()
    xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if xdg.is_absolute():  # the XDG specification has relative ones ignored
        return xdg / "mlpconv"
    try:
        return Path.home() / ".cache" / "mlpconv"
    except RuntimeError as error:
        raise DataError("this user has no home directory for a cache; set MLPCONV_CACHE to a directory") from error


def find(
    source: Source,
    *,
    directory: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    download: bool = True,
    progress: Progress | None = None,
) -> tuple[Location, dict[str, bytearray]]:
    """Where a data set's files are, and their verified contents by role. Fetches what is nowhere on this machine.

    Raises:
        DataError: as `load_dataset`.
    """
    if given := directory or os.environ.get("MLPCONV_DATA"):
        by = "the directory given" if directory else "MLPCONV_DATA"
        folder, own, attempts = Path(given).expanduser(), cache_directory(cache) / "data" / source.name, []
        if source.archive and (folder / source.archive.name).is_file() and missing_files(source, folder):
            if not fetch(source, own, attempts, near=[folder], download=False):
                raise DataError(attempts[-1])
            return Location(own, str(folder / source.archive.name)), read_files(source, own)
        location = Location(_given(source, folder, by), by)
        return location, read_files(source, location.path)
    own, attempts = cache_directory(cache) / "data" / source.name, []
    for location in _places(source, own):
        try:
            if missing := missing_files(source, location.path):
                lacks = f"lacks {missing}" if location.path.is_dir() else "no such directory"
                attempts.append(f"{location.path}: {lacks}")
                continue
            contents = read_files(source, location.path)
        except DataError as error:
            attempts.append(str(error))
            if location.path == own:
                _clean(source, own)
            else:
                log.warning("%s; passed over", error)
            continue
        log.info("%s: found in %s", source.name, location.path)
        return location, contents
    if download:
        try:
            if origin := fetch(source, own, attempts, progress):
                log.info("%s: now in %s, from %s", source.name, own, origin)
                return Location(own, origin), read_files(source, own)
        except DataError as error:
            attempts.append(str(error))
    raise DataError(_nowhere(source, own, attempts, download))


def look(
    source: Source,
    *,
    directory: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> Location | None:
    """Where on this machine a data set's files stand, by their names alone: quick, nothing is read, fetched or mended.

    None where they are not together in any place that `find` looks in. What they hold is verified when they are loaded.
    """
    if given := directory or os.environ.get("MLPCONV_DATA"):
        folder = Path(given).expanduser()
        by = "the directory given" if directory else "MLPCONV_DATA"
        places = [Location(place, by) for place in folders_in(source, folder)]
    else:
        places = _places(source, cache_directory(cache) / "data" / source.name)
    for place in places:
        try:
            if not missing_files(source, place.path):
                return place
        except DataError as error:
            log.info("%s; passed over", error)
    return None


def bring(source: Source, into: str | os.PathLike[str], progress: Progress | None = None) -> Location:
    """Make sure that a directory holds a data set: in one of the data set's name, or itself where it does already.

    What it lacks is copied from this machine, or fetched. Raises DataError as `load_dataset`.
    """
    folder = Path(into).expanduser()
    for place in folders_in(source, folder):
        if not missing_files(source, place):
            read_files(source, place)
            return Location(place, "the directory given, which already had it")
    own, attempts = folder / source.name, []
    here = look(source)
    origin = fetch(source, own, attempts, progress, [here.path] if here else [])
    if not origin:
        raise DataError(_nowhere(source, own, attempts, download=True))
    read_files(source, own)
    return Location(own, origin)


def _places(source: Source, own: Path) -> list[Location]:
    places = [Location(own, "the cache")]
    if source.debian_directory:
        places.append(Location(Path(source.debian_directory), f"Debian's package {source.debian_package}"))
    return places


def _given(source: Source, directory: Path, by: str) -> Path:
    """The directory itself or the one in it of the data set's name. The user said where: nothing else is tried."""
    for place in folders_in(source, directory):
        if not missing_files(source, place):
            return place
    if not directory.is_dir():
        raise DataError(f"{directory}: no such directory (it is {by}); give one that holds {file_names(source)}")
    raise DataError(
        f"{directory}: {by} lacks {missing_files(source, directory)} of {source.name}; put the files there, gzipped or "
        "not, or give no directory to have the data set found or fetched"
    )


def _clean(source: Source, own: Path) -> None:
    try:
        drop_damaged(source, own)
    except DataError as error:
        log.warning("%s", error)  # a cache that is only read: the other places are still to be tried


def _nowhere(source: Source, own: Path, attempts: list[str], download: bool) -> str:
    ways = []
    if source.debian_package:
        ways.append(f"sudo apt-get install {source.debian_package} (Debian, Ubuntu)")
    if source.urls:
        ways.append(f"put {file_names(source)} into {own}; they are at")
        ways.extend(f"  {url}" for url in source.urls)
    if source.archive:
        ways.append(f"put {source.archive.name} into DIR, and say --data-dir DIR; it is at {source.archive.url}")
    ways.append("where the files are elsewhere, say so: --data-dir DIR, or MLPCONV_DATA=DIR in the environment")
    if not download:
        ways.append("allow downloading, which is off")
    return "\n".join(
        [
            f"{source.name}: not on this machine" + (", and could not be fetched:" if download else ":"),
            *(f"  {attempt}" for attempt in attempts),
            "Any one of these mends it:",
            *(f"  {way}" for way in ways),
        ]
    )
