"""What a network sees: the maps of its classes over pictures."""
