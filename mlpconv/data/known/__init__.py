"""Data sets known by name: found, downloaded, verified, read."""
