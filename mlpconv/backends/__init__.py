"""Back ends: a network realised in a framework, carrying out step plans. Nothing is imported before it is asked for."""
