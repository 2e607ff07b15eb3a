"""The NumPy reference that every back end is compared with."""
