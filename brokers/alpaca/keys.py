"""The account's two secrets: from the environment or an owner-only file, and masked wherever they might be shown."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from engine.errors import ConfigError

ID_NAME, SECRET_NAME = "APCA_API_KEY_ID", "APCA_API_SECRET_KEY"
MASK = b"***"


class Keys:
    """A key and its secret. Neither is in its `repr`, its `str`, its attributes by `vars`, or in a pickle.

    Attributes:
        key_id, secret: the plain texts, for a header or an authentication message and nothing else.
    """

    __slots__ = ("key_id", "secret")

    def __init__(self, key_id: str, secret: str) -> None:
        self.key_id, self.secret = key_id, secret

    @property
    def secrets(self) -> tuple[str, str]:
        """The texts that no log may show."""
        return self.key_id, self.secret

    def hidden(self, text: bytes) -> bytes:
        """Return what a server said without the keys, which it may quote from our request."""
        return text.replace(self.secret.encode(), MASK).replace(self.key_id.encode(), MASK)

    def headers(self) -> dict[str, str]:
        """Return the headers that authenticate a REST request."""
        return {"APCA-API-KEY-ID": self.key_id, "APCA-API-SECRET-KEY": self.secret}

    def __repr__(self) -> str:
        return "Keys(***)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("keys are not written anywhere")


def read_keys(keys_file: Path | None = None, environ: Mapping[str, str] | None = None) -> Keys:
    """Return the keys of `keys_file`, or of the environment when there is no file.

    The file has a line `NAME=value` for each of the two variables, and only its owner may read it.

    Raises:
        ConfigError: a key is missing, or others can read the file; never with a value in its text.
    """
    if keys_file is None:
        values = os.environ if environ is None else environ
        where = "the environment"
    else:
        values, where = _values(keys_file), str(keys_file)
    key_id, secret = values.get(ID_NAME, "").strip(), values.get(SECRET_NAME, "").strip()
    missing = " and ".join(name for name, value in ((ID_NAME, key_id), (SECRET_NAME, secret)) if not value)
    if missing:
        raise ConfigError(f"{missing} missing in {where}; Alpaca shows both when a key is made")
    for name, value in ((ID_NAME, key_id), (SECRET_NAME, secret)):
        if not value.isascii() or not value.isprintable() or " " in value:
            raise ConfigError(f"{name} in {where} holds a character that no key has")
    return Keys(key_id, secret)


def _values(path: Path) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8") as file:
            state = os.fstat(file.fileno())
            if state.st_mode & (stat.S_IRWXG | stat.S_IRWXO) or state.st_uid != os.geteuid():
                raise ConfigError(f"{path} can be read by others; make it yours alone: chmod 600 {path}")
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"cannot read keys from {path}: {told}") from None
    pairs = (line.removeprefix("export ").partition("=") for line in lines if line and not line.startswith("#"))
    return {name.strip(): value.strip().strip("'\"") for name, _, value in pairs}
