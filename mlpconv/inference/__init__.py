"""Trained networks in use: predictions, class maps and evaluation of images."""
