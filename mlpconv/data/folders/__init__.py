"""Images of one's own: a folder or a CSV list, decoded once into a cache."""
