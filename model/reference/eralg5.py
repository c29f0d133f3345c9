"""`eralg5` in the arithmetic of the MER authors' code."""

from model import eralg5
from model.reference.replay import Replay


class Net(Replay, eralg5.Net):
    """As ``model.eralg5``."""
