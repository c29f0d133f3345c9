"""Benchmark data: builders, the table of standard files, raw files, and the reader of data files."""


class DataError(Exception):
    """A user's mistake about data; its text is one sentence: what is wrong, the value, the remedy."""
