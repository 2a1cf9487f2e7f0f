"""A key of a TOML text is found on its line."""

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from engine.config.lines import KeyPath, key_lines, line_of

TEXT = '''\
mode = "replay"  # [not.a.table]
long = """
fake = 1
[fake]
"""
raw = \'\'\'x = [\'\'\'
list = [
  1,  # ]
  2, "]",
]
"quoted key" = 1
a.b.c = { inner = 3 }

[feed]
use = "x"
[[strategies]]
name = "one"
[strategies.params]
fast = 1
[[ strategies ]]
name = "two"
'''


def test_every_key_is_found_on_its_line() -> None:
    """Headers, dotted and quoted keys, arrays of tables; text inside strings, arrays and comments is no key."""
    tomllib.loads(TEXT)
    assert key_lines(TEXT) == {
        ("mode",): 1,
        ("long",): 2,
        ("raw",): 6,
        ("list",): 7,
        ("quoted key",): 11,
        ("a",): 12,
        ("a", "b"): 12,
        ("a", "b", "c"): 12,
        ("feed",): 14,
        ("feed", "use"): 15,
        ("strategies", 0): 16,
        ("strategies", 0, "name"): 17,
        ("strategies", 0, "params"): 18,
        ("strategies", 0, "params", "fast"): 19,
        ("strategies", 1): 20,
        ("strategies", 1, "name"): 21,
    }


def test_a_key_without_its_own_line_has_that_of_its_table() -> None:
    """A key of an inline table, or a missing one, points at what should hold it."""
    lines = key_lines(TEXT)
    assert line_of(lines, ("a", "b", "c", "inner")) == 12
    assert line_of(lines, ("feed", "missing")) == 14
    assert line_of(lines, ("nowhere",)) is None


VALUES = st.recursive(
    st.sampled_from(
        ["1", '"a = 1"', "'[x]'", '"""\nk = 2\n"quo" ""\n"""', "'''\n[t]\n'''", r'"\""', "true # [", "0.5"]
    ),
    lambda inner: st.lists(inner, max_size=3).map(lambda items: "[\n" + "".join(f"  {i}\n,\n" for i in items) + "]"),
    max_leaves=6,
)


@given(st.lists(VALUES, max_size=6))
def test_any_value_leaves_the_next_key_on_its_line(values: list[str]) -> None:
    """However a value is written, the scanner finds exactly the keys that tomllib finds, where they begin."""
    text, expected = "", dict[KeyPath, int]()
    for index, value in enumerate(values):
        expected[(f"k{index}",)] = text.count("\n") + 1
        text += f"k{index} = {value}\n"
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return  # a comment swallowed a bracket: not TOML, so nothing to find
    assert key_lines(text) == expected
