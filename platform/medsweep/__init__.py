"""MedSweep: fine-tune, serve and measure medical language models on every hardware profile."""

__version__ = "0.1.0"
