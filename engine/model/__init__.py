"""Models in the corridor: features, bundles, the lane. torch is imported in this package only, and late."""

from engine.model.history import History, feature

__all__ = ["History", "feature"]
