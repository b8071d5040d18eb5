"""What a model may write and PostgreSQL can't store."""

import json
from typing import Any

from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from inference.types import Call, Delta
from modelpilot.jobs.characters import storable, storable_delta

# All characters, with those in it that can't be stored.
TEXT = st.text(st.one_of(st.characters(), st.sampled_from("\x00\ud800\udfff")))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)),
)


@given(VALUES)
def test_what_is_left_can_be_sent_and_stored(value: Any) -> None:
    left = storable(value)
    assert "\\u0000" not in json.dumps(left).replace("\\\\", "")
    json.dumps(left, ensure_ascii=False).encode()


def test_postgresql_takes_it(db: None) -> None:
    nasty = {"\x00": ["a\x00b", "\ud800", {"c": "\udfff"}], "d": 1.5}
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::jsonb", [json.dumps(storable(nasty))])
        [(stored,)] = cursor.fetchall()
    found = json.loads(stored) if isinstance(stored, str) else stored
    assert found == {"\ufffd": ["a\ufffdb", "\ufffd", {"c": "\ufffd"}], "d": 1.5}


@given(TEXT)
def test_each_character_stays_one(text: str) -> None:
    assert len(storable(text)) == len(text)
    assert storable(storable(text)) == storable(text)
    told = [{"token": text, "logprob": -1.0, "bytes": [0], "top_logprobs": []}]
    piece = Delta(text, 1, "call.0", 2, Call("call_1", text), told)
    clean = storable_delta(piece)
    assert (clean.text, clean.index, clean.part, clean.tokens) == (storable(text), 1, "call.0", 2)
    assert clean.call == Call("call_1", storable(text))
    assert clean.logprobs == [{**told[0], "token": storable(text)}]
