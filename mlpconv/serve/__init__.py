"""Trained classifiers over HTTP: a page, answers for image files, and the Open Inference Protocol."""
