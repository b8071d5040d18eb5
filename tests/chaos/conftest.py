"""A running product of its own, since these tests break it, and how to break it."""

from tests.api.conftest import alice, newcomer, system

__all__ = ["alice", "newcomer", "system"]
