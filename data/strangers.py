"""Names and texts from strangers' files, made safe to print."""


def one_line(text):
    """text on one line with its control characters escaped: terminals obey them."""
    return "".join(c if c.isprintable() else " " if c.isspace() else c.encode("unicode_escape").decode() for c in text)
