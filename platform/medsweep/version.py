"""The version, which keys of cells and provenance carry."""

__version__ = "0.1.0"
