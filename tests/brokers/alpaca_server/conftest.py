"""The SDK imports a deprecated part of websockets; here, once, that is no error."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import alpaca.data.live
    import alpaca.trading.stream  # noqa: F401
