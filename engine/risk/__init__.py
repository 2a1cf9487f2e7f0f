"""Leave to trade: one small class per control, and the only maker of `Approved`."""

from engine.risk.limits import RiskLimits
from engine.risk.manager import RiskManager

__all__ = ["RiskLimits", "RiskManager"]
