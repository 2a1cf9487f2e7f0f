"""Buy one share on every print, with nothing but three libraries: `python minimal_app.py HOST:PORT`."""

import sys

import aiohttp
import msgspec
from websockets.asyncio.client import connect

try:
    from uvloop import run
except ImportError:
    from asyncio import run

KEY, SECRET = "PKLOCALVENUE", "local-venue-secret"
HEADERS = {"APCA-API-KEY-ID": KEY, "APCA-API-SECRET-KEY": SECRET, "Content-Type": "application/json"}


class Print(msgspec.Struct, tag_field="T", tag="t"):
    """A print, as far as it matters here."""

    S: str
    p: float


decode = msgspec.msgpack.Decoder(list[Print]).decode
pack, to_json = msgspec.msgpack.encode, msgspec.json.encode


async def main(host: str) -> None:
    """Listen, and answer."""
    async with (
        aiohttp.ClientSession(headers=HEADERS) as http,
        connect(
            f"ws://{host}/v2/iex", additional_headers={"Content-Type": "application/msgpack"}, compression=None
        ) as stream,
    ):
        await stream.recv()
        await stream.send(pack({"action": "auth", "key": KEY, "secret": SECRET}))
        await stream.recv()
        await stream.send(pack({"action": "subscribe", "trades": ["TICK"]}))
        await stream.recv()
        async for frame in stream:
            for one in decode(frame):
                order = {"symbol": one.S, "qty": "1", "side": "buy", "type": "market", "time_in_force": "day"}
                async with http.post(f"http://{host}/v2/orders", data=to_json(order)) as answer:
                    await answer.read()


if __name__ == "__main__":
    run(main(sys.argv[1]))
