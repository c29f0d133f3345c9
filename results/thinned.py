"""Long lists made shorter, for a record or a page."""


def every(step: int, values) -> list:
    """Every ``step``-th of the ``values``, from the first on, and the last."""
    return [*values[: max(0, len(values) - 1) : step], *values[-1:]]
