"""`meralg7` in the arithmetic of the MER authors' code."""

from model import meralg7
from model.reference.replay import Replay


class Net(Replay, meralg7.Net):
    """As ``model.meralg7``."""
