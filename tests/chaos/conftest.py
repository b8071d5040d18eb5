"""A running product of its own, since these tests break it, and how to break it."""

from tests.api.conftest import alice, identity, newcomer, stripe, system

__all__ = ["alice", "identity", "newcomer", "stripe", "system"]
