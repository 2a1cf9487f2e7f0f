"""Builds with the hot path compiled to C when ONETAPE_COMPILE is set; everything else is in pyproject.toml.

The same typed files run interpreted and compiled, with the same decisions and the same journal hash: compiling halves
the cost of an order and asks nothing of the sources but mypy's strictness. Needs mypy and a C compiler.
"""

import os

from setuptools import setup

HOT = [
    "engine/core.py",
    "engine/desk.py",
    "engine/journal.py",
    "engine/market.py",
    "engine/orders.py",
    "engine/portfolio.py",
    "engine/rolling.py",
    "engine/schedule.py",
    "engine/supervisor.py",
    "engine/ticks.py",
    "engine/wiring.py",
    "engine/risk/control.py",
    "engine/risk/egress.py",
    "engine/risk/exposure.py",
    "engine/risk/link.py",
    "engine/risk/loss.py",
    "engine/risk/manager.py",
    "engine/risk/margin.py",
    "engine/risk/model_health.py",
    "engine/risk/override.py",
    "engine/risk/post_trade.py",
    "engine/risk/price.py",
    "engine/risk/proposal.py",
    "engine/risk/rate.py",
    "engine/risk/size.py",
    "engine/risk/state.py",
    "engine/risk/validity.py",
    "brokers/paper.py",
    "brokers/simulated/admission.py",
    "brokers/simulated/conditions.py",
    "brokers/simulated/execution.py",
    "brokers/simulated/fees.py",
    "brokers/simulated/hours.py",
    "brokers/simulated/matching.py",
    "brokers/simulated/order_table.py",
    "brokers/simulated/slippage.py",
    "brokers/simulated/wire.py",
    "brokers/simulated/working_order.py",
]

modules = []
if os.environ.get("ONETAPE_COMPILE"):
    from mypyc.build import mypycify

    # Not our pyproject's mypy settings: they name packages and a plugin, and this names files.
    modules = mypycify(["--config-file=", "--ignore-missing-imports", "--follow-imports=silent", *HOT], opt_level="2")

setup(ext_modules=modules)
