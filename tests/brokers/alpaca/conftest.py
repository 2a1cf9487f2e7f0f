"""alpaca-py, which tests here compare with, imports a deprecated part of websockets; once, that is no error."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import alpaca.trading.requests  # noqa: F401
