"""`meralg1` in the arithmetic of the MER authors' code."""

from model import meralg1
from model.reference.replay import Replay


class Net(Replay, meralg1.Net):
    """As ``model.meralg1``."""
