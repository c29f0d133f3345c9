"""Records of runs and what is made of them: reading any log, tables, comparison, figures."""


class RecordError(Exception):
    """A user's mistake, or a file that cannot be read or written; the message is one sentence."""
