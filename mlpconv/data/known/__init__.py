"""Data sets known by name: defined, located, downloaded, verified and read.

``load_dataset("mnist")`` takes these steps, one module each:

1. **Definition** (`definitions`): ``KNOWN`` lists one `Source` (`source`) per data set: its classes, counts, files with
   checksums, URLs, and the name of the function that reads it.
2. **Locate** (`locate`): the files are looked for in the given directory, else in the cache and where Debian's package
   installs them.
3. **Download** (`download`, `archive`): files found nowhere are fetched into the cache, from the URLs, an archive, or
   Debian's package.
4. **Verify** (`verify`): wherever the files are from, each is compared with its published checksum at every load.
5. **Read** (`readers`, with the file formats `idx` and `matlab`): contents become an `ImageDataset` for training and
   one for testing.

`registry` has the functions that users call. `digits` is the exception: it comes with scikit-learn, not as files.

To add a data set, append a `Source` to ``definitions.KNOWN``; if no function in ``readers.READERS`` reads its files,
add one there.
"""
