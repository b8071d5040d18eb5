"""Which pages of the key-value cache belong to whom, and which are known from before.

A page holds the keys and values of `size` tokens that follow each other. One whose tokens are all
known is found again by them and all before them, so requests with the same beginning share it.
"""

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Sequence


class Pages:
    """All pages of one cache, by number. Not safe for threads: the loop alone uses it."""

    def __init__(self, count: int, size: int) -> None:
        self.count, self.size = count, size
        self._free = list(range(count))
        self._users = [0] * count
        self._by_key: dict[bytes, int] = {}
        self._keys: dict[int, bytes] = {}
        # Known pages that nobody uses now, the least recently used first.
        self._resting: OrderedDict[int, None] = OrderedDict()

    @property
    def available(self) -> int:
        """How many pages nobody uses; known ones among them are forgotten when they are taken."""
        return len(self._free) + len(self._resting)

    def take(self, number: int) -> list[int] | None:
        """That many pages for one user, or None if there are not as many."""
        if number > self.available:
            return None
        taken = []
        for _ in range(number):
            page = self._free.pop() if self._free else self._forget()
            self._users[page] = 1
            taken.append(page)
        return taken

    def release(self, pages: Sequence[int]) -> None:
        """Give up pages; known ones stay until their room is needed."""
        # The last page of a sequence goes first: its beginning is what others may share.
        for page in reversed(pages):
            self._users[page] -= 1
            if self._users[page]:
                continue
            if page in self._keys:
                self._resting[page] = None
            else:
                self._free.append(page)

    def find(self, tokens: Sequence[int], most: int) -> tuple[list[int], list[bytes]]:
        """The known pages with which `tokens` begin, `most` tokens at most, and their keys.

        They are the caller's until it releases them.
        """
        found: list[int] = []
        keys: list[bytes] = []
        key = b""
        for start in range(0, most - self.size + 1, self.size):
            key = self.key(key, tokens[start : start + self.size])
            page = self._by_key.get(key)
            if page is None:
                break
            self._resting.pop(page, None)
            self._users[page] += 1
            found.append(page)
            keys.append(key)
        return found, keys

    def remember(self, page: int, key: bytes) -> None:
        """`page` now holds the tokens of `key`; where another page does already, that one stays."""
        if key not in self._by_key:
            self._by_key[key] = page
            self._keys[page] = key

    @staticmethod
    def key(before: bytes, tokens: Sequence[int]) -> bytes:
        """Names a page by its tokens and the key of the page before."""
        # No weaker hash: who could make two prompts collide would read another's cache.
        return hashlib.blake2b(before + array("q", tokens).tobytes(), digest_size=16).digest()

    def _forget(self) -> int:
        page, _ = self._resting.popitem(last=False)
        del self._by_key[self._keys.pop(page)]
        return page
