"""MedSweep: fine-tune, serve and measure medical language models on every hardware configuration."""

__version__ = "0.1.0"
