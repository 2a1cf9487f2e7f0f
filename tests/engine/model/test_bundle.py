"""Model files: whatever is wrong with one, it is refused in one line and nothing of it is executed."""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import ModelError
from engine.events import DAY_NS
from engine.model import bundle
from engine.model.archive import CARD, TEXT_BYTES_MAX, Archive
from engine.model.card import Card, Golden, Output, Reference, decode
from engine.model.normalization import Normalization
from tests.engine.model.bundles import LOOKBACK, NAME, card, rewritten, save
from tests.runs import REPOSITORY


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a model file with nothing wrong."""
    return save(tmp_path_factory.mktemp("model") / f"{NAME}.pt")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / f"{NAME}.pt"


def refusal(path: Path, content: bytes | None = None, *, allowed: set[str] | None = None, now_ns: int = 0) -> str:
    """Why the file is refused, which is one line that names it."""
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError) as error:
        bundle.open_bundle(path, allowed=allowed, now_ns=now_ns)
    told = str(error.value)
    assert "\n" not in told
    assert told.startswith(f"{path}: ")
    assert error.value.exit_code == 2
    return told


def with_card(content: bytes, change: Callable[[dict[str, object]], object]) -> bytes:
    """Edit the card as a text editor would, and make the zip's check sums right again."""

    def edited(name: str, inside: bytes) -> bytes:
        if name != CARD:
            return inside
        told = msgspec.json.decode(inside)
        change(told)
        return msgspec.json.encode(told)

    return rewritten(content, edited)


def test_a_good_file_opens_and_its_bytes_are_what_was_checked(path: Path, good: bytes) -> None:
    """What is loaded later is not what may lie there later."""
    path.write_bytes(good)
    opened = bundle.open_bundle(path, allowed={sha256(good).hexdigest()}, now_ns=0)
    path.write_bytes(b"another model")
    assert opened.content == good
    assert opened.card == msgspec.structs.replace(card(), program_sha256=opened.card.program_sha256)
    assert opened.sha256 == sha256(good).hexdigest()


def test_a_good_file_gives_its_golden_outputs_again(path: Path, good: bytes) -> None:
    """The loader's own check, on the bytes that were checked."""
    from engine.model.backends import load_backend

    path.write_bytes(good)
    opened = bundle.open_bundle(path, allowed=None, now_ns=0)
    path.unlink()
    assert opened.card.golden is not None
    inputs, outputs = opened.card.golden.arrays()
    assert load_backend(opened, "cpu").score(inputs) == pytest.approx(outputs, abs=1e-6)


def test_a_file_is_read_and_checked_without_torch(path: Path, good: bytes) -> None:
    """What executes models is not even there; the card also of one that has expired, for who wants to know."""
    path.write_bytes(good)
    code = (
        "import sys; from engine.model import bundle; bundle.open_bundle(sys.argv[1], allowed=None, now_ns=0); "
        "print(bundle.read_card(sys.argv[1]).name, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.stdout.split() == [NAME, "False"]


# --- files that are not as they should be ----------------------------------------------------------------------------


def test_a_file_that_is_not_on_the_list_is_refused_unread(path: Path, good: bytes) -> None:
    """Not even its directory is looked at."""
    assert "is not among those allowed; nothing of it was read" in refusal(path, good, allowed={"0" * 64})
    assert "is not among those allowed" in refusal(path, b"anything", allowed=set())


def test_a_file_that_is_missing_or_no_file_is_refused(tmp_path: Path) -> None:
    """A wrong path, a folder, a pipe."""
    assert "No such file" in refusal(tmp_path / "tiny.pt")
    (tmp_path / "tiny.pt").mkdir()
    assert "this is no file" in refusal(tmp_path / "tiny.pt")
    os.mkfifo(tmp_path / "tiny2.pt")
    assert "this is no file" in refusal(tmp_path / "tiny2.pt")


def test_an_empty_and_a_foreign_file_are_refused(path: Path) -> None:
    """A CSV, a safetensors file, nothing at all."""
    for content in (b"", b"PK", b"a,b\n1,2\n", struct.pack("<Q", 2) + b"{}"):
        assert "it is damaged or no model file" in refusal(path, content)


def test_a_file_cut_off_anywhere_is_refused(path: Path, good: bytes) -> None:
    """A download that broke."""
    for length in range(1, len(good), 97):
        refusal(path, good[:length])


def test_a_file_with_anything_before_or_behind_it_is_refused(path: Path, good: bytes) -> None:
    """Two programs that read zips could see two different models in it."""
    assert "does not end where its directory ends" in refusal(path, good + b"\0\0")
    refusal(path, b"#!" + good)
    refusal(path, good + good)
    comment = bytearray(good)
    comment[-2:] = b"\4\0"
    refusal(path, bytes(comment) + b"1234")


def test_a_renamed_file_is_refused(tmp_path: Path, good: bytes) -> None:
    """One model in the place of another, or a kind that it is not; a version behind the name is fine."""
    told = refusal(tmp_path / "other.pt", good)
    assert "its card says 'tiny', so its name begins so and not with 'other'" in told
    assert "its name ends in .pt; was it renamed?" in refusal(tmp_path / "tiny.onnx", good)
    (tmp_path / "tiny-2.pt").write_bytes(good)
    assert bundle.open_bundle(tmp_path / "tiny-2.pt", allowed=None, now_ns=0).card.version == "1"


def test_an_expired_model_is_refused(path: Path, good: bytes) -> None:
    """A model is for its time."""
    assert "expired at 1970-01-01 00:00 UTC; train it again" in refusal(path, good, now_ns=9_001)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"lookback": 7}, r"its golden inputs have the shape \(3, 2, 5\); \[n, 2, 7\] is right"),
        ({"features": card().features[:1]}, "it normalizes 2 and 2 features, and there are 1"),
        ({"features": ()}, "0 features over 5 bars"),
        ({"lookback": 0}, "2 features over 0 bars"),
        ({"lookback": 10**9}, "inputs of 2 x 1000000000 are too large"),
        ({"outputs": (Output("a"), Output("b"))}, "its score has 1 weights for 2 outputs"),
        ({"outputs": ()}, "and 0 outputs"),
        ({"normalization": Normalization("z_score", (0.0,), (1.0,))}, "it normalizes 1 and 1 features"),
        ({"normalization": Normalization("z_score", (0.0, 0.0), (1.0, 0.0))}, "a scale is not positive"),
        ({"normalization": Normalization(clip=(1.0, -1.0))}, "it clips from 1.0 to -1.0"),
        ({"golden": Golden((3, 2, 5), b"1234", b"1234", {})}, "not as long as their shape says"),
        ({"train_span_ns": (5, 4)}, "its train span ends before it begins"),
        ({"reference": Reference(((0.0, 1.0),) * 3)}, "its reference is of other than 2 features"),
        ({"reference": Reference(points=((1.0, 2.0), (1.0,)))}, "its reference is of other than 2 features"),
        ({"name": "../tiny"}, "a name has 1 to 100 letters"),
        ({"format_version": 2}, "it is of format 2; this version reads format 1"),
    ],
)
def test_a_card_that_contradicts_itself_is_refused(
    path: Path, good: bytes, changes: dict[str, object], told: str
) -> None:
    """Wrong shapes, wrong lengths, another format: found before anything is computed with them."""
    with pytest.raises(ModelError, match=told):
        card(**changes).check()
    edited = rewritten(good, lambda name, inside: card(**changes).encode() if name == CARD else inside)
    refusal(path, edited)


@pytest.mark.parametrize(
    "text",
    [b"", b"{}", b"[]", b"\xff\xfe", b'{"name": 3}', b"[" * 100_000, b'{"name":"x","name":"y"}', b"nul"],
    ids=["empty", "object", "list", "no text", "number", "deep", "twice", "word"],
)
def test_a_card_that_is_none_is_refused(path: Path, good: bytes, text: bytes) -> None:
    """It is JSON of our shape, or nothing."""
    assert "its card does not read" in refusal(path, rewritten(good, lambda n, one: text if n == CARD else one))


def test_a_card_with_a_field_that_nobody_knows_is_refused(path: Path, good: bytes) -> None:
    """A misspelt limit must not pass as no limit."""
    assert "expire_ns" in refusal(path, with_card(good, lambda told: told.update(expire_ns=1)))


def test_a_card_of_a_later_format_says_so(path: Path, good: bytes) -> None:
    """And not that some field is unknown."""
    edited = with_card(good, lambda told: told.update(format_version=9, novelty=1))
    assert "it is of format 9; this version reads format 1" in refusal(path, edited)


# --- files that mean harm --------------------------------------------------------------------------------------------


class Harm:
    """A pickle that makes a file when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_would_run_something_is_refused_and_not_run(
    path: Path, good: bytes, tmp_path: Path, protocol: int
) -> None:
    """In the place of the network's own, beside it, or as the whole file."""
    mark = tmp_path / "harm"
    evil = pickle.dumps(Harm(mark), protocol)
    for name in ("data.pkl", "constants.pkl"):
        told = refusal(path, rewritten(good, lambda one, inside, name=name: evil if one == name else inside))
        assert "which no network needs" in told
    assert "which has no place in a model" in refusal(
        path, rewritten(good, more=[(f"{Archive(good).root}/evil.pkl", evil)])
    )
    refusal(path, rewritten(good, more=[("archive/code/evil.py.debug_pkl", evil)]))
    refusal(path, evil)
    assert not mark.exists()


def test_a_file_of_torch_save_is_refused_as_the_pickle_that_it_is(path: Path, good: bytes) -> None:
    """`torch.save(model)` looks alike, and loading it runs whatever its author liked."""
    kept = rewritten(good, lambda name, inside: None if name.startswith(("code/", "constants")) else inside)
    assert "it is a pickle of torch.save, which could run anything" in refusal(path, kept)


def test_code_that_reaches_for_files_is_refused(path: Path, good: bytes) -> None:
    """TorchScript has operators that read and write files; a network needs none of them."""
    for call in (b"torch.save([x], 'f')", b"torch.from_file('f')", b"ops.evil.run(x)", b"torch . save (x)"):
        changed = rewritten(
            good, lambda name, inside, call=call: inside + b"\n    " + call if name.endswith(".py") else inside
        )
        assert "which no network needs" in refusal(path, changed)


@pytest.mark.parametrize("name", ["../x", "archive/../../x", "/etc/x", "archive\\x", "C:/x", "x"])
def test_a_name_that_leads_out_of_the_file_is_refused(path: Path, good: bytes, name: str) -> None:
    """Nothing is ever extracted, and still nobody needs such a name."""
    told = refusal(path, rewritten(good, more=[(name, b"1")]))
    assert "may lead out of the file" in told or "do not lie in one folder" in told
    assert "may lead out of the file" in refusal(path, good.replace(b"/data/0", b"\0data/0"))


def test_a_name_that_comes_twice_is_refused(path: Path, good: bytes) -> None:
    """Which of the two is read differs from program to program."""
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = rewritten(good, more=[(f"{Archive(good).root}/data.pkl", b"1")])
    assert "two entries of the same name" in refusal(path, twice)


def test_a_zip_bomb_is_refused_before_it_goes_off(path: Path, good: bytes) -> None:
    """A few kilobytes that unpack to gigabytes, as weights or as code."""
    root = Archive(good).root
    zeros = bytes(TEXT_BYTES_MAX + 1)
    for name in ("data/99", "code/__torch__/bomb.py"):
        buffer = io.BytesIO(good)
        with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as file:
            file.writestr(f"{root}/{name}", zeros)
        told = refusal(path, buffer.getvalue())
        assert "is compressed, which only code may be" in told or "would unpack to 16,777,217 bytes" in told


def test_entries_that_lie_over_one_another_are_refused(path: Path, good: bytes) -> None:
    """The bomb that needs no compression: many names, the same bytes."""
    directory = good.rindex(b"PK\1\2")
    changed = bytearray(good)
    changed[directory + 42 : directory + 46] = struct.pack("<I", 0)
    assert "it is damaged" in (told := refusal(path, bytes(changed))) or "does not begin where" in told


def test_other_weights_under_the_same_card_are_refused(path: Path, good: bytes) -> None:
    """All check sums of the zip are right; the card's hash of the network is not."""
    other = rewritten(good, lambda name, inside: inside[::-1] if name == "data/0" else inside)
    assert other != good
    flipped = rewritten(good, lambda name, inside: bytes(len(inside)) if name == "data/0" else inside)
    assert "it was tampered with" in refusal(path, flipped)
    code = rewritten(good, lambda name, inside: inside + b"\n" if name.endswith(".py") else inside)
    assert "it was tampered with" in refusal(path, code)


def test_a_card_that_was_edited_is_another_file_to_the_list(path: Path, good: bytes) -> None:
    """Moving the expiry is possible, passing the list with it is not."""
    edited = with_card(good, lambda told: told.update(expires_ns=10**18))
    assert "is not among those allowed" in refusal(path, edited, allowed={sha256(good).hexdigest()})


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_changed_in_any_byte_is_refused_or_is_the_same_model(
    path: Path, good: bytes, data: st.DataObject
) -> None:
    """Flipped, cut, doubled or overwritten anywhere: one clear line, or the network and its card are untouched."""
    content = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        how = data.draw(st.sampled_from(["flip", "cut", "insert", "copy"]))
        if how == "flip":
            content[at] ^= data.draw(st.integers(1, 255))
        elif how == "cut":
            del content[at : at + data.draw(st.integers(1, 64))]
        elif how == "insert":
            content[at:at] = data.draw(st.binary(min_size=1, max_size=16))
        else:
            start = data.draw(st.integers(0, len(content) - 1))
            part = content[start : start + data.draw(st.integers(1, 64))]
            content[at : at + len(part)] = part
        if not content:
            break
    path.write_bytes(bytes(content))
    try:
        opened = bundle.open_bundle(path, allowed=None, now_ns=0)
    except ModelError as error:
        told = str(error)
    else:
        told = ""
        one, other = (Archive(each) for each in (good, opened.content))
        assert bundle.program_sha256(one) == bundle.program_sha256(other)
        assert one.read(CARD) == other.read(CARD)
    assert "\n" not in told


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_entry_changed_under_a_right_check_sum_is_refused(path: Path, good: bytes, data: st.DataObject) -> None:
    """Who can write a zip can make its check sums right; the network's own hash and the look through it remain."""
    counted = [name for name in Archive(good).names if not name.startswith(".data/") and not name.endswith("pkl")]
    wanted = data.draw(st.sampled_from([*counted, "data.pkl", "constants.pkl"]))
    old = Archive(good).read(wanted)
    at, new = data.draw(st.integers(0, len(old))), data.draw(st.binary(min_size=1, max_size=40))
    changed = old[:at] + new + old[at + data.draw(st.integers(0, 40)) :]
    path.write_bytes(rewritten(good, lambda name, inside: changed if name == wanted else inside))
    try:
        opened = bundle.open_bundle(path, allowed=None, now_ns=0)
    except ModelError as error:
        told = str(error)
    else:
        told = ""
        # Another card may well be a card: only the list can tell.
        assert changed == old or wanted == CARD
        assert opened.card.program_sha256 == bundle.program_sha256(Archive(good))
    assert "\n" not in told


@settings(max_examples=200, deadline=None)
@given(text=st.binary(max_size=400) | st.text(max_size=400).map(str.encode))
def test_no_text_makes_the_card_reader_fail_otherwise(text: bytes) -> None:
    """Anything is a card or a ModelError."""
    with pytest.raises(ModelError):
        decode(text)


# --- saving, and replaying -------------------------------------------------------------------------------------------


def test_what_would_be_refused_is_not_saved(tmp_path: Path) -> None:
    """A wrong name, a card that contradicts itself: told to who trains, not to who trades."""
    with pytest.raises(ModelError, match="its card says 'tiny'"):
        save(tmp_path / "other.pt")
    with pytest.raises(ModelError, match="0 features"):
        save(tmp_path / "tiny.pt", card(features=()))
    assert list(tmp_path.iterdir()) == []


def test_a_network_is_sealed_once(good: bytes) -> None:
    """A second card would leave two truths."""
    with pytest.raises(ModelError, match="has a card already"):
        bundle.seal(good, card(), NAME)


def test_a_card_survives_its_own_text() -> None:
    """To the last bit of its golden pair, and the same text each time."""
    told = card(metrics={"ic": 0.1}, normalization=Normalization("robust", (0.1, 1e-9), (3.3, 7.0), (-9.0, 9.0)))
    assert decode(told.encode()) == told
    assert told.encode() == decode(told.encode()).encode()
    assert told.golden is not None
    inputs, outputs = told.golden.arrays()
    assert inputs.shape == (3, 2, LOOKBACK)
    assert outputs.shape == (3, 1)
    assert inputs.dtype == np.float32


def spanned() -> Card:
    return card(train_span_ns=(100 * DAY_NS, 200 * DAY_NS))


@pytest.mark.parametrize(("first", "last"), [(0, 100), (150, 160), (200, 300), (0, 400)])
def test_a_replay_inside_the_training_span_is_refused_unless_told_so(first: int, last: int) -> None:
    """Then the report says it, with both spans."""
    with pytest.raises(ModelError, match=r"was trained on 1970-04-11 to 1970-07-20.*allow_training_span = true"):
        bundle.check_replay(spanned(), (first * DAY_NS, last * DAY_NS), allowed=False)
    told = bundle.check_replay(spanned(), (first * DAY_NS, last * DAY_NS), allowed=True)
    assert "say nothing about days that it has not seen" in told


@pytest.mark.parametrize(("first", "last"), [(0, 99), (201, 300)])
def test_a_replay_outside_the_training_span_needs_no_leave(first: int, last: int) -> None:
    """Before it or after it; and a card without a span has none to meet."""
    assert bundle.check_replay(spanned(), (first * DAY_NS, last * DAY_NS), allowed=False) == ""
    assert bundle.check_replay(card(train_span_ns=(0, 0)), (0, 9 * DAY_NS), allowed=False) == ""


@pytest.mark.parametrize("train", [(100, 200), (0, 0)])
def test_the_days_of_the_validation_have_been_seen_too(train: tuple[int, int]) -> None:
    """Stopping, temperature and stacking weights are fitted there; only the test is new, also to a fixed network."""
    spans = {"train_span_ns": train, "valid_span_ns": (210, 250), "test_span_ns": (260, 300)}
    told = card(**{name: (first * DAY_NS, last * DAY_NS) for name, (first, last) in spans.items()})
    with pytest.raises(ModelError, match=r"to 1970-09-08, .*it has seen these days"):
        bundle.check_replay(told, (250 * DAY_NS, 400 * DAY_NS), allowed=False)
    assert bundle.check_replay(told, told.test_span_ns, allowed=False) == ""
    assert bundle.check_replay(told, (0, 99 * DAY_NS), allowed=False) == ""
