"""A running product of its own, since these tests break it, and how to break it."""

from tests.api.conftest import alice, newcomer, stripe, system

__all__ = ["alice", "newcomer", "stripe", "system"]
