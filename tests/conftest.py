"""Settings that all tests share. Its place puts `strategies` and `torch_reference` on the import path."""

from hypothesis import settings

# Times vary too much on a shared machine for a deadline to mean anything.
settings.register_profile("mlpconv", deadline=None, print_blob=True)
settings.load_profile("mlpconv")
