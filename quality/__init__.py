"""Months of a mail server of known truth, played through `replay`: `make quality`."""
