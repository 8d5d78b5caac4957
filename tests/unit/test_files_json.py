"""Rules for JSON from strangers, one by one; test_malformed tries them through every file of a checkpoint."""

import pytest

from minidecilm.errors import ConfigError
from minidecilm.files import brief, parse_object, read_object


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"a": 1, "a": 1}', "key 'a' stands twice; remove one"),
        (b'{"b": {"a": 1, "a": 2}}', "key 'a' stands twice"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": [-Infinity]}', "-Infinity is not a JSON number"),
        (b'{"a": 1e999}', "number 1e999 is too large"),
        (b'{"a": ' + b"[" * 32 + b"]" * 32 + b"}", "nested too deeply"),
        (b'{"a": ' * 33 + b"1" + b"}" * 33, "nested too deeply"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[1]", "expected a JSON object, found list"),
        (b'{"a": "\xff"}', "not valid JSON"),
        (b'{"a": ' + b"1" * 5000 + b"}", "not valid JSON"),
        (b"", "not valid JSON"),
    ],
)
def test_what_is_refused(text, message):
    with pytest.raises(ConfigError, match=rf"^a\.json: .*{message}"):
        parse_object(text, "a.json", ConfigError)


def test_what_is_taken():
    text = '{"a": 1e308, "é": [true, null, {"a": -0.5}], "d": ' + "[" * 31 + "]" * 31 + "}"
    assert list(parse_object(text.encode(), "a.json", ConfigError)) == ["a", "é", "d"]


def test_size_is_bounded_to_the_byte(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'{"a": 12}')
    assert read_object(path, 9, ConfigError) == {"a": 12}
    with pytest.raises(ConfigError, match=r"a\.json: larger than 8 bytes"):
        read_object(path, 8, ConfigError)


def deep(levels):
    return [deep(levels - 1)] if levels else 1


@pytest.mark.parametrize(
    "value",
    ["x" * 10_000, 10**3000, [1] * 999, {str(i): i for i in range(999)}, deep(300)],
    ids=["text", "integer", "list", "object", "deep"],
)
def test_any_value_is_told_in_one_short_line(value):
    found = brief(value)
    assert len(found) < 400
    assert "\n" not in found
    assert "..." in found
