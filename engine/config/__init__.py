"""One TOML file is one complete run: read, checked as a whole, frozen.

Nothing is inherited, merged or defaulted from elsewhere. Everything that is wrong is told at once, each with its line,
in one `ConfigError`. A relative path starts at the folder of the file it is written in, so a configuration moves
together with its tapes; one given on the command line starts at the current folder.
"""

from engine.config.file import from_dict, load, outline, run_folder
from engine.config.models import HealthConfig, ModelConfig
from engine.config.tables import (
    AlertsConfig,
    BrokerConfig,
    FeedConfig,
    JournalConfig,
    LogConfig,
    MetricsConfig,
    RunConfig,
    RunOutline,
    StrategyConfig,
    WatchdogConfig,
)

__all__ = [
    "AlertsConfig",
    "BrokerConfig",
    "FeedConfig",
    "HealthConfig",
    "JournalConfig",
    "LogConfig",
    "MetricsConfig",
    "ModelConfig",
    "RunConfig",
    "RunOutline",
    "StrategyConfig",
    "WatchdogConfig",
    "from_dict",
    "load",
    "outline",
    "run_folder",
]
