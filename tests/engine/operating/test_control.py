"""The control line: only its owner reaches it, whatever is said on it the daemon goes on, and what is asked is done."""

import asyncio
import json
import os
import socket
import stat
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import pytest

from engine import journal, logs
from engine.errors import ConfigError, ControlError, FeedOverrun, ModelError
from engine.events import Command, LimitChanged
from engine.interlock import Leave
from engine.operating import control
from engine.operating.control import ControlServer, Reply, Request
from engine.operating.operator import Operator
from tests.engine.operating.operated import Operated

FOLDER = control.FOLDER


async def echo(request: Request) -> Reply:
    return Reply(ok=True, told=f"{request.ask} {request.reason}")


@asynccontextmanager
async def listening(folder: Path, answer: Any = echo, **options: Any) -> AsyncIterator[ControlServer]:
    server = ControlServer(folder / FOLDER, answer, **options)
    await server.open()
    try:
        yield server
    finally:
        await server.close()


async def ask(folder: Path, request: Request, **options: Any) -> Reply:
    return await asyncio.to_thread(control.request, folder, request, **options)


async def say(path: Path, words: bytes) -> bytes:
    """Say anything at all on the line, and return what comes back."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(words)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


# --- who may ask -----------------------------------------------------------------------------------------------------


async def test_only_the_owner_can_reach_the_line(tmp_path: Path) -> None:
    """The folder is 0700 and the socket 0600, whatever the process's mask is."""
    before = os.umask(0)
    try:
        async with listening(tmp_path) as server:
            assert stat.S_IMODE(server.path.parent.stat().st_mode) == 0o700
            assert stat.S_IMODE(server.path.stat().st_mode) == 0o600
    finally:
        os.umask(before)


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
async def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path, mode: int) -> None:
    """Rather no control line than one that is open, and the message says how to mend it."""
    (tmp_path / FOLDER).mkdir(mode=0o700)
    (tmp_path / FOLDER).chmod(mode)
    with pytest.raises(ConfigError, match="chmod 700"):
        await ControlServer(tmp_path / FOLDER, echo).open()


async def test_a_link_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    """A folder elsewhere may be anybody's."""
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / FOLDER).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="is a link"):
        await ControlServer(tmp_path / FOLDER, echo).open()


async def test_a_socket_that_a_killed_daemon_left_is_replaced(tmp_path: Path) -> None:
    """A crash leaves its socket behind, and must not keep the next start from listening."""
    path = tmp_path / FOLDER / control.SOCKET
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    async with listening(tmp_path):
        assert (await ask(tmp_path, Request("halt", "lunch"))).told == "halt lunch"


async def test_a_file_in_the_sockets_place_is_left_alone(tmp_path: Path) -> None:
    """Nothing is deleted that is not ours."""
    path = tmp_path / FOLDER / control.SOCKET
    path.parent.mkdir(mode=0o700)
    path.write_text("precious")
    with pytest.raises(ConfigError, match="is no socket"):
        await ControlServer(tmp_path / FOLDER, echo).open()
    assert path.read_text() == "precious"


async def test_a_second_daemon_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    """Two that answered at one place would each be told half."""
    async with listening(tmp_path):
        with pytest.raises(ConfigError, match="another daemon answers"):
            await ControlServer(tmp_path / FOLDER, echo).open()
        assert (await ask(tmp_path, Request("status"))).ok


async def test_the_socket_goes_when_the_daemon_does(tmp_path: Path) -> None:
    """Whoever asks after the end is told so at once."""
    async with listening(tmp_path) as server:
        assert server.path.exists()
    assert not server.path.exists()
    with pytest.raises(ControlError, match="no daemon runs"):
        control.request(tmp_path, Request("status"))


async def test_a_path_that_is_too_long_for_a_socket_works(tmp_path: Path) -> None:
    """An `out_dir` may be as deep as it likes; a socket's name may not."""
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    async with listening(deep):
        assert (await ask(deep, Request("status"))).told == "status "


# --- what may be said ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (b"\n", "not understood"),
        (b"halt\n", "not understood"),
        (b"[]\n", "not understood"),
        (b"{}\n", "missing required field `ask`"),
        (b'{"ask": "sell everything"}\n', "Invalid enum value"),
        (b'{"ask": "halt", "reason": 5}\n', "Expected `str`"),
        (b'{"ask": "halt", "force": true}\n', "unknown field `force`"),
        (b'{"ask": "halt", "reason": "' + b"x" * 501 + b'"}\n', "length <= 500"),
        (b'{"ask": "halt", "reason": "\xff"}\n', "not understood"),
        (b'{"ask": "reload", "config": ' + b'{"a":' * 5000 + b"\n", "not understood"),
        (b"\x00\xff\xfe\n", "not understood"),
        (b"x" * (control.REQUEST_BYTES_MAX + 10) + b"\n", "not understood"),
    ],
    ids=lambda value: repr(value[:40]),
)
async def test_a_malformed_request_is_refused_in_words(tmp_path: Path, words: bytes, told: str) -> None:
    """Whatever is said, the answer is one line of JSON that says what is wrong, and the next one is heard."""
    async with listening(tmp_path) as server:
        try:
            answer = json.loads(await say(server.path, words))
        except ConnectionError:  # it was too long to be read to its end
            assert len(words) > control.REQUEST_BYTES_MAX
        else:
            assert answer["ok"] is False
            assert told in answer["told"]
        assert (await ask(tmp_path, Request("status"))).ok


async def test_a_request_without_its_end_is_no_request(tmp_path: Path) -> None:
    """Half a line is what a killed client leaves: nothing is done."""
    asked: list[Request] = []

    async def answer(request: Request) -> Reply:
        asked.append(request)
        return Reply(ok=True)

    async with listening(tmp_path, answer) as server:
        assert await say(server.path, b'{"ask": "halt"}') == b""
    assert asked == []


async def test_a_client_that_says_nothing_is_let_go(tmp_path: Path) -> None:
    """A connection that keeps us waiting is closed, so that none can take all places."""
    async with listening(tmp_path, idle_s=0.0) as server:
        reader, writer = await asyncio.open_unix_connection(str(server.path))
        assert await reader.read() == b""
        writer.close()


async def test_more_clients_than_there_are_places_are_told_so(tmp_path: Path) -> None:
    """The line is bounded: what comes on top is refused, and what is there is answered."""
    let_go = asyncio.Event()

    async def answer(request: Request) -> Reply:
        await let_go.wait()
        return Reply(ok=True)

    async with listening(tmp_path, answer) as server:
        line = b'{"ask":"status"}\n'
        held = [asyncio.create_task(say(server.path, line)) for _ in range(control.CONNECTIONS_MAX)]
        while len(server._serving) < control.CONNECTIONS_MAX:
            await asyncio.sleep(0)
        assert b"at once" in await say(server.path, line)
        let_go.set()
        assert {json.loads(one)["ok"] for one in await asyncio.gather(*held)} == {True}


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (ConfigError("run.name cannot change"), "run.name cannot change"),
        (ZeroDivisionError("sk-canary-control"), "a bug of onetape, please report it: ZeroDivisionError: ***"),
    ],
)
async def test_what_an_answer_raises_is_told_and_ends_nothing(tmp_path: Path, raised: Exception, told: str) -> None:
    """A request that goes wrong is the asker's to read, without a secret, and the next one is heard."""
    logs.mask("sk-canary-control")

    async def answer(request: Request) -> Reply:
        raise raised

    async with listening(tmp_path, answer):
        for _ in range(2):
            assert await ask(tmp_path, Request("status")) == Reply(ok=False, told=told)


# --- the client's end ------------------------------------------------------------------------------------------------


def test_a_folder_without_a_daemon_says_so(tmp_path: Path) -> None:
    """Nothing there, or only the socket of a killed one: there is no daemon."""
    with pytest.raises(ControlError, match=f"no daemon runs in {tmp_path}"):
        control.request(tmp_path, Request("status"))
    (tmp_path / FOLDER).mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / FOLDER / control.SOCKET))
    with pytest.raises(ControlError, match="no daemon runs"):
        control.request(tmp_path, Request("status"))


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"", "stopped meanwhile"),
        (b"{}\n", "of another version"),
        (b'{"ok": true, "status": {"name": 5}}\n', "of another version"),
        (b"<html>\n", "of another version"),
    ],
)
def test_an_answer_that_does_not_read_is_an_error_in_words(tmp_path: Path, answer: bytes, told: str) -> None:
    """A daemon of another version, or one that dies while it answers, makes no traceback."""
    (tmp_path / FOLDER).mkdir()
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(str(tmp_path / FOLDER / control.SOCKET))
        daemon.listen()

        def serve() -> None:
            line, _ = daemon.accept()
            with line:
                line.recv(1000)
                line.sendall(answer)

        serving = threading.Thread(target=serve)
        serving.start()
        with pytest.raises(ControlError, match=told):
            control.request(tmp_path, Request("status"))
        serving.join()


def test_a_daemon_that_hangs_does_not_hang_its_client(tmp_path: Path) -> None:
    """One that takes the call and never answers is told to hang, within the time-out, and what goes around it."""
    (tmp_path / FOLDER).mkdir()
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(str(tmp_path / FOLDER / control.SOCKET))
        daemon.listen()
        with pytest.raises(ControlError, match=r"not answered within 0.01 s; it may hang. .* --direct"):
            control.request(tmp_path, Request("halt"), timeout_s=0.01)


# --- what the daemon does --------------------------------------------------------------------------------------------

Ask = Callable[[Request], Awaitable[Reply]]


@asynccontextmanager
async def operated(folder: Path, bars: int = 3, **options: Any) -> AsyncIterator[tuple[Any, Ask]]:
    """A run that holds ten shares and rests one order, with its operator, walking."""
    daemon = Operated(folder)
    operator = Operator(daemon, daemon.observers, **options)  # type: ignore[arg-type]  # its stand-in
    await daemon.begin(bars)
    walking = asyncio.create_task(daemon.walk())
    yield daemon, operator.answer
    walking.cancel()
    daemon.journal.close()


async def no_time(seconds: float) -> None:
    await asyncio.sleep(0)


async def test_the_status_says_how_the_daemon_stands(tmp_path: Path) -> None:
    """Position, order, money, counters and phase are those of the corridor, and survive the line."""
    async with operated(tmp_path, bars=4, unacknowledged=lambda: 2) as (_, answer), listening(tmp_path, answer):
        status = (await ask(tmp_path, Request("status"))).status
    assert status is not None
    assert (status.name, status.mode, status.phase, status.state, status.cause) == (
        "proof", "paper", "trading", "active", "",
    )  # fmt: skip
    (held,), (resting,) = status.positions, status.orders
    assert (held.strategy, held.symbol, held.qty, held.average_price, held.mark) == ("one", "AAA", 10, 100, 100.0)
    assert (resting.client_order_id, resting.status, resting.limit_price, resting.qty) == (
        "proof-one-2", "accepted", 99, 1,
    )  # fmt: skip
    assert (status.cash_usd, status.equity_usd, status.pnl_usd) == (99_000, 100_000.0, 0.0)
    assert (status.events, status.approvals, status.fills, sum(status.denials.values())) == (4, 2, 1, 1)
    assert status.alerts_unacknowledged == 2
    assert status.quiet_s is None  # a tape is never late


async def test_a_run_that_has_not_begun_takes_no_command(tmp_path: Path) -> None:
    """While the journal is followed a command would fall into the past; the status says that it is starting."""
    daemon: Any = Operated(tmp_path)
    answer = Operator(daemon, daemon.observers).answer
    status = (await answer(Request("status"))).status
    assert status is not None
    assert status.phase == "starting"
    reply = await answer(Request("halt"))
    assert (reply.ok, len(daemon.inbox)) == (False, 0)
    daemon.journal.close()


async def test_halt_latches_and_cancels_entries_before_it_is_answered(tmp_path: Path) -> None:
    """The command is journaled with its reason, at the tape's own time, and the answer says what is so now."""
    async with operated(tmp_path) as (daemon, answer):
        seen: list[Command] = []
        daemon.observers.observe(Command, seen.append)
        reply = await answer(Request("halt", "lunch"))
        assert reply.ok
        assert daemon.core.risk.state == "halted"
        assert daemon.core.risk.cause == "operator"
        assert [(one.action, one.reason, one.ts_recv_ns) for one in seen] == [("halt", "lunch", daemon.core.now_ns)]
        assert reply.told.startswith("trading is halted")
        assert {order.status for order in daemon.core.orders.open.values()} <= {"pending_cancel"}


async def test_resume_and_reduce_only_change_the_state(tmp_path: Path) -> None:
    """Each command is the corridor's own, and the answer names the state that it led to."""
    async with operated(tmp_path) as (daemon, answer):
        assert (await answer(Request("reduce_only"))).told.startswith("trading is reduce-only")
        assert daemon.core.risk.state == "reduce_only"
        assert (await answer(Request("resume"))).told.startswith("trading is active")
        assert daemon.core.risk.state == "active"


async def test_cancel_all_tells_what_is_still_open(tmp_path: Path) -> None:
    """A cancel is only a request: the answer counts what the venue has not confirmed yet."""
    async with operated(tmp_path, sleep=no_time) as (daemon, answer):
        reply = await answer(Request("cancel_all"))
        assert daemon.core.risk.state == "active"
        assert [order.status for order in daemon.core.orders.open.values()] in ([], ["pending_cancel"])
        assert f"{len(daemon.core.orders.open) or 'no'} open order" in reply.told


async def test_flatten_halts_first_and_then_closes(tmp_path: Path) -> None:
    """A position that is closed while strategies may trade is soon open again."""
    async with operated(tmp_path, bars=2, sleep=no_time) as (daemon, answer):
        told: list[str] = []
        daemon.observers.observe(Command, lambda command: told.append(command.action))
        await answer(Request("flatten"))
        assert told == ["halt", "flatten"]
        await daemon.play(3)
        assert not any(daemon.core.portfolio.held())
        assert daemon.core.risk.state == "halted"


async def test_a_corridor_that_does_not_take_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads that trading is halted before it is."""
    monkeypatch.setattr("engine.operating.operator.TAKEN_WITHIN_S", 0)
    daemon: Any = Operated(tmp_path)
    answer = Operator(daemon, daemon.observers).answer
    await daemon.begin(1)
    reply = await answer(Request("halt"))
    assert (reply.ok, len(daemon.inbox), daemon.core.risk.state) == (False, 1, "active")
    assert "has not taken it" in reply.told
    daemon.journal.close()


async def test_a_full_inbox_is_told_and_not_waited_for(tmp_path: Path) -> None:
    """What may not be dropped fills it, trading ends by that, and the asker hears of it."""
    async with operated(tmp_path) as (daemon, answer):
        daemon.inbox.publish = lambda event: (_ for _ in ()).throw(FeedOverrun("the inbox is full"))
        with pytest.raises(FeedOverrun):
            await answer(Request("halt"))


async def test_reload_changes_what_decides_nothing(tmp_path: Path) -> None:
    """The log's level and the alerts take effect at once, and the run's hash stays what it was."""
    seen: list[Any] = []
    async with operated(tmp_path, reload=lambda config: partial(seen.append, config)) as (daemon, answer):
        tree, before = daemon.config.resolved(), daemon.config.resolved_json()
        tree["log"]["level"], tree["alerts"]["repeat_after_s"] = "debug", 5.0
        reply = await answer(Request("reload", config=tree))
        assert reply.told == "changed alerts.repeat_after_s, log.level"
        assert (seen[0].log.level, seen[0].alerts.repeat_after_s) == ("debug", 5.0)
        assert daemon.run.config.resolved_json() == before
        assert (await answer(Request("reload", config=tree))).told == "nothing differs"


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [("journal", "durability", "power"), ("metrics", "port", 9464), ("strategies", 0, {"name": "other"})],
)
async def test_reload_refuses_what_a_running_daemon_cannot_change(
    tmp_path: Path, table: str, key: Any, value: Any
) -> None:
    """All or nothing: a file that changes the journal, a port or a strategy is refused, and names the key."""
    seen: list[Any] = []
    async with operated(tmp_path, reload=lambda config: partial(seen.append, config)) as (daemon, answer):
        tree = daemon.config.resolved()
        tree["log"]["level"] = "debug"
        tree[table][key] = tree[table][key] | value if isinstance(value, dict) else value
        with pytest.raises(ConfigError, match=f"{table}.*cannot change while the daemon runs"):
            await answer(Request("reload", config=tree))
        assert seen == []
        assert daemon.run.config.log.level == "info"


@pytest.mark.parametrize("refused", ["models", "alerts"])
async def test_reload_changes_nothing_when_the_last_of_it_is_refused(tmp_path: Path, refused: str) -> None:
    """Models are looked at after the alerts, and put into force before them: neither is without the other."""
    done: list[str] = []

    class Models:
        async def reload(self, *_: Any) -> list[str]:
            if refused == "models":
                raise ModelError("refused")
            done.append("models")
            return []

    def reload(config: Any) -> Any:
        if refused == "alerts":
            raise ConfigError("refused")
        return lambda: done.append("alerts")

    async with operated(tmp_path, reload=reload) as (daemon, answer):
        daemon.stage, daemon.run.scoring.deployer = Models(), object()
        tree = daemon.config.resolved()
        tree["log"]["level"], tree["risk"]["max_open_orders_count"] = "debug", 3
        with pytest.raises((ConfigError, ModelError), match="refused"):
            await answer(Request("reload", config=tree))
        assert done == []
        assert daemon.run.config.log.level == "info"
        assert daemon.core.risk.limits.max_open_orders_count > 3
        daemon.stage = None


async def test_reload_takes_a_narrower_limit_and_no_wider_one(tmp_path: Path) -> None:
    """S18: narrower for anybody, with old value, new value and who in the journal; a wider one changes nothing."""
    async with operated(tmp_path) as (daemon, answer):
        tree = daemon.config.resolved()
        tree["risk"] |= {"max_open_orders_count": 3, "allow_short_selling": False}
        reply = await answer(Request("reload", config=tree, who="ann"))
        assert reply.told == "changed risk.max_open_orders_count, risk.allow_short_selling"
        risk = daemon.core.risk
        assert (risk.limits.max_open_orders_count, risk.limits.allow_short_selling) == (3, False)
        assert (await answer(Request("reload", config=tree, who="ann"))).told == "nothing differs"
        for key, value, told in (
            ("max_open_orders_count", 4, "risk.max_open_orders_count would let more through"),
            ("reject_window_s", 1e6, "is being counted by and cannot change"),
        ):  # fmt: skip
            wrong = {**tree, "log": {"level": "debug"}, "risk": {**tree["risk"], key: value}}
            with pytest.raises(ConfigError, match=told):
                await answer(Request("reload", config=wrong, who="ann"))
            assert daemon.run.config.log.level == "info"
        assert (risk.limits.max_open_orders_count, risk.limits.reject_window_s) == (3, 300.0)
    kept = [one for one in journal.read(tmp_path / "run.journal") if isinstance(one, LimitChanged)]
    assert [(one.limit, one.before, one.after, one.who, one.reason) for one in kept] == [
        ("max_open_orders_count", "1000000000", "3", "ann", "reload"),
        ("allow_short_selling", "true", "false", "ann", "reload"),
    ]


OVERRIDE = Request("override", "index add", who="ann", limit="max_order_qty", value="25", minutes=10)


async def test_an_override_holds_for_its_minutes(tmp_path: Path) -> None:
    """C36: the answer says until when; the corridor's own time ends it."""
    async with operated(tmp_path) as (daemon, answer):
        assert "max_order_qty is 25 until 14:43:00 UTC, and then 1" in (await answer(OVERRIDE)).told
        assert daemon.core.risk.limits.max_order_qty == 25
        await daemon.play(9)
        assert daemon.core.risk.limits.max_order_qty == 25
        await daemon.play(1)
        assert daemon.core.risk.limits.max_order_qty > 25
    kept = [one for one in journal.read(tmp_path / "run.journal") if isinstance(one, LimitChanged)]
    assert [one.after for one in kept] == ["25", "1000000000000"]


async def test_an_override_that_comes_too_late_is_told(tmp_path: Path) -> None:
    """What the corridor did not put in force is no success."""
    async with operated(tmp_path) as (_, answer):
        reply = await answer(msgspec.structs.replace(OVERRIDE, minutes=1e-12))
    assert (reply.ok, reply.told) == (
        False, "max_order_qty stays as it is: the minutes were over when the corridor took it"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"who": ""}, "says who wants it and why"),
        ({"reason": ""}, "says who wants it and why"),
        ({"minutes": 0.0}, "lasts more than 0 and at most 15 minutes"),
        ({"minutes": 15.5}, "lasts more than 0 and at most 15 minutes"),
        ({"minutes": float("nan")}, "lasts more than 0 and at most 15 minutes"),
        ({"limit": "max_ordre_qty"}, "did you mean 'max_order_qty'"),
        ({"value": "lots"}, "max_order_qty cannot be 'lots'"),
    ],
)
async def test_an_improper_override_is_refused_in_words(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    """C36: who, why, which limit and at most a quarter of an hour; what is missing is said, and nothing changes."""
    async with operated(tmp_path) as (daemon, answer):
        before = daemon.core.risk.limits
        with pytest.raises(ConfigError, match=told):
            await answer(msgspec.structs.replace(OVERRIDE, **change))
        assert daemon.core.risk.limits is before


async def test_an_override_stays_within_the_live_profile(tmp_path: Path) -> None:
    """C33 and C36: what the profile does not allow is not allowed for a minute."""
    async with operated(tmp_path) as (daemon, answer):
        daemon.leave = Leave("1", daemon.core.risk.limits.model_copy(update={"max_gross_fraction": Decimal(2)}))
        with pytest.raises(ConfigError, match="the live profile does not allow that: max_gross_fraction at most 2"):
            await answer(msgspec.structs.replace(OVERRIDE, limit="max_gross_fraction", value="3"))


async def test_a_broken_configuration_is_refused_by_the_running_daemon(tmp_path: Path) -> None:
    """What would not start is not taken over either."""
    async with operated(tmp_path) as (_, answer):
        with pytest.raises(ConfigError):
            await answer(Request("reload", config={"mode": "paper"}))
        with pytest.raises(ConfigError):
            await answer(Request("reload"))


def test_every_command_that_can_be_asked_is_one_of_the_corridor() -> None:
    """The words on the line are those of `Command`; `status` is none, and `reload` tightens."""
    actions = get_args(get_type_hints(Command)["action"])
    assert {*get_args(control.Ask)} - {"status", "reload"} == {*actions} - {"tighten"}
