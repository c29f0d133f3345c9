"""Comparing runs: what they are, which may be averaged, measures of them, and inference from few seeds."""
