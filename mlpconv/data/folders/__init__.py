"""Your own images in a folder or CSV list, as a data set.

``folder.scan_folder(path).load(preprocess)`` takes these steps, one module each:

1. `listing` lists the files with their classes and splits.
2. `scan` reads each file's header and SHA-256; unchanged files are not read again.
3. `folder` chooses what is usable and reports the rest; `splitting` holds out validation and test images.
4. `cache` decodes the images once, in several processes (`workers`), into a file that is mapped into memory.

`check` reports on a folder before training: counts, sizes, duplicates.
"""
