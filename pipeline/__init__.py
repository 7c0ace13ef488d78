"""The data path of the fraud decision pipeline."""

__version__ = "0.1.0"
