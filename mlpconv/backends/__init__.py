"""Back ends: networks in the frameworks of the registry, and step plans executed there.

Frameworks load on demand.
"""
