"""Class maps of images: computing them, placing them on the image, drawing them, storing a few with a run."""
