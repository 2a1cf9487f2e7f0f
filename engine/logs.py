"""What the run says: lines for people on the console, JSON lines for machines in a file. Decisions go to the journal.

Every record carries the engine's own time (`ts_event`; a line about the past gives its own as `_ts_event_ns`), which in
a replay is not the wall's, and passes a mask as its last step, so that a secret is in no line, whether as a value,
under a telling key or inside an exception's text. The console shows pictures of a stranger's control characters.
Importing this configures nothing; the daemon calls `configure` once, a backtest `on_demand`.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from engine.clock import Clock, LiveClock, to_datetime
from engine.folder import writing

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

MASK = "***"
SECRET_LENGTH_MIN = 6  # hiding every "ab" would hide the log
_SECRET_KEY = re.compile(
    r"(^|[_-])(secret|password|passphrase|authorization|(api|access|private)[_-]?key|access[_-]?token)([_-](key|id))?$",
    re.IGNORECASE,
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_secrets: set[str] = set()
_demanded: list[Callable[[], None]] = []

Fields = MutableMapping[str, Any]


def is_secret(key: str) -> bool:
    """Tell whether a key, header or variable of this name holds a secret (`api_key` does, `api_key_env` does not)."""
    return _SECRET_KEY.search(key) is not None


def mask(value: str) -> None:
    """Keep `value` out of every log line from now on, also as JSON or a URL would write it."""
    if len(value) >= SECRET_LENGTH_MIN:
        as_json = (json.dumps(value, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False))
        _secrets.update((value, *as_json, urllib.parse.quote(value, safe="")))


def mask_environment() -> None:
    """Keep the secrets of the environment out of every log line from now on."""
    for name, value in os.environ.items():
        if is_secret(name):
            mask(value)


def masked(text: str) -> str:
    """Return `text` without the secrets that `mask` was given."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


def printable(text: str, keep: str = "") -> str:
    """Return `text` with pictures (`␛`, `␊`) of its control characters not in `keep`: it colors and forges nothing."""
    return _CONTROL.sub(lambda found: found[0] if found[0] in keep else _picture(ord(found[0])), text)


def configure(
    *,
    level: str = "info",
    file: Path | None = None,
    console: TextIO | None = None,
    event_time_ns: Callable[[], int] = lambda: 0,
    clock: Clock | None = None,
) -> None:
    """Send records of `level` and above to the console and, as JSON lines, to `file`.

    The libraries below us are heard from warning on. Variables of the environment that hold secrets are masked.

    Args:
        level: debug, info, warning or error.
        file: is appended to; its folder is made.
        console: standard error by default; colored when it is a terminal.
        event_time_ns: returns the engine's time, 0 while there is none.
        clock: stamps `ts`, when the record was made.
    """
    import structlog
    from structlog import dev, processors, stdlib

    close()
    mask_environment()
    stamp = _stamp(clock or LiveClock(), event_time_ns)
    shared = [structlog.contextvars.merge_contextvars, stdlib.add_log_level, stamp, _mask_keys]
    structlog.configure(
        processors=[*shared, stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=stdlib.LoggerFactory(),
    )
    console = console or sys.stderr
    # never rich's tracebacks: they print the values of local variables
    pretty = dev.ConsoleRenderer(colors=console.isatty(), exception_formatter=dev.plain_traceback)
    _attach(logging.StreamHandler(console), shared, [_one_time, processors.format_exc_info, _printable, pretty])
    if file is not None:
        lines = processors.JSONRenderer(default=str, ensure_ascii=False)
        with writing(file.parent):
            _attach(logging.FileHandler(file, encoding="utf-8"), shared, [processors.format_exc_info, lines])
    logging.root.setLevel(level.upper())


@contextmanager
def on_demand(**options: Any) -> Iterator[None]:
    """Configure for a while, as soon as `logger` is asked for one: a run that logs nothing does not pay for it.

    Whoever has configured structlog keeps what he has.
    """
    level_before = logging.root.level
    _demanded.append(partial(configure, **options))
    try:
        yield
    finally:
        if _demanded:
            _demanded.clear()
        else:
            import structlog

            close()
            structlog.reset_defaults()
            logging.root.setLevel(level_before)


def logger(**bound: Any) -> FilteringBoundLogger:
    """Return a logger whose records carry these fields."""
    import structlog

    if _demanded and not structlog.is_configured():
        _demanded.pop()()
    log: FilteringBoundLogger = structlog.get_logger().bind(**bound)
    return log


def set_level(level: str) -> None:
    """Keep records of `level` and above from here on; a logger that is bound already keeps its own."""
    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))
    logging.root.setLevel(level.upper())


def is_configured() -> bool:
    """Tell whether records go to outputs of ours."""
    return any(handler.name == __name__ for handler in logging.root.handlers)


def close() -> None:
    """Flush and let go of what `configure` opened."""
    for handler in [handler for handler in logging.root.handlers if handler.name == __name__]:
        logging.root.removeHandler(handler)
        with suppress(OSError):  # a full disk is the journal's to tell
            handler.close()


def _attach(handler: logging.Handler, shared: list[Any], render: Iterable[Any]) -> None:
    from structlog.stdlib import ProcessorFormatter

    chain = [ProcessorFormatter.remove_processors_meta, *render, _mask_text]
    handler.setFormatter(ProcessorFormatter(processors=chain, foreign_pre_chain=shared))
    handler.addFilter(lambda record: record.levelno >= logging.WARNING or hasattr(record, "_logger"))
    handler.set_name(__name__)
    handler.handleError = lambda record: None  # type: ignore[method-assign]  # never raises, never floods
    logging.root.addHandler(handler)


def _stamp(clock: Clock, event_time_ns: Callable[[], int]) -> Callable[[object, str, Fields], Fields]:
    def stamp(_logger: object, _method: str, fields: Fields) -> Fields:
        ts_event_ns = fields.pop("_ts_event_ns", 0) or event_time_ns()
        fields["ts"] = to_datetime(clock.now_ns()).isoformat(timespec="milliseconds")
        fields["ts_event"] = to_datetime(ts_event_ns).isoformat(timespec="milliseconds") if ts_event_ns else ""
        return fields

    return stamp


def _one_time(_logger: object, _method: str, fields: Fields) -> Fields:
    """Show people the engine's time, or the wall's before the first event."""
    made, event = fields.pop("ts"), fields.pop("ts_event")
    fields["timestamp"] = (event or made)[:23].replace("T", " ")
    return fields


def _printable(_logger: object, _method: str, fields: Fields) -> Fields:
    """Keep the terminal from what strangers say, and a record in its line; a traceback has lines of its own."""
    for key, value in fields.items():
        if isinstance(value, str):
            fields[key] = printable(masked(value), keep="\n\t" if key in ("exception", "stack") else "")
    return fields


def _mask_keys(_logger: object, _method: str, fields: Fields) -> Fields:
    return {key: _without_secrets(key, value) for key, value in fields.items()}


def _without_secrets(key: object, value: Any) -> Any:
    if isinstance(key, str) and is_secret(key):
        return MASK
    if isinstance(value, dict):
        return {inner: _without_secrets(inner, part) for inner, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_secrets("", part) for part in value]
    return value


def _picture(control: int) -> str:
    return chr(0x2400 + control) if control < 0x20 else "\N{REPLACEMENT CHARACTER}"


def _mask_text(_logger: object, _method: str, line: str) -> str:
    return masked(line)
