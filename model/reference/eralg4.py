"""`eralg4` in the arithmetic of the MER authors' code."""

from model import eralg4
from model.reference.replay import Replay


class Net(Replay, eralg4.Net):
    """As ``model.eralg4``."""
