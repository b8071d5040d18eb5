"""Requests that wait in line and are worked on together where that is possible.

One thread does all the work, as a pipeline can't be used by two. It takes the piece that
has waited longest, and with it those behind that can be made in the same go.
"""

import logging
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from inference.errors import InferenceError
from inference.types import Emit, Event, Progress

log = logging.getLogger(__name__)

# How long a batch with room waits for company, where there is company to be expected.
LINGER_S = 0.03
# How often a request that waits asks whether it is still wanted.
ASK_S = 1.0
# How long closing waits for the step that runs; a process that ends takes the thread with it.
CLOSE_S = 20.0


class Abandoned(Exception):
    """Nobody wants any piece of this batch any more."""


@dataclass(eq=False, slots=True)
class Order:
    """One request: who hears about it, and how it ended."""

    emit: Emit
    pieces: list["Piece"] = field(default_factory=list)
    failure: BaseException | None = None
    begun: bool = False
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def over(self) -> bool:
        return self.ended.is_set()

    def tell(self, event: Event) -> None:
        """Emit; a listener that raises (Cancelled, mostly) ends its own order and no other."""
        if self.over:
            return
        try:
            self.emit(event)
        except BaseException as error:
            self.fail(error)

    def tell_progress(self) -> None:
        self.tell(Progress(sum(piece.fraction for piece in self.pieces) / len(self.pieces)))

    def fail(self, error: BaseException) -> None:
        if not self.over:
            self.failure = error
            self.ended.set()

    def settle(self) -> None:
        """End well if all pieces are there."""
        if all(piece.made for piece in self.pieces):
            self.ended.set()


@dataclass(eq=False, slots=True)
class Piece:
    """A part of an order, made in one go with others of the same `key`.

    `weight` is its share of what a batch may weigh, `subject` what the engine makes it of.
    """

    order: Order
    key: Hashable
    weight: int
    subject: Any
    fraction: float = 0.0
    made: bool = False
    result: Any = None


# Makes the pieces of a batch and returns a result for each; raises Abandoned if all are over.
Make = Callable[[list[Piece]], list[Any]]


class Worker:
    """The one thread and its line. A batch has `most` pieces, and weighs `capacity` if it has two.

    `making` describes the work in the message of an unforeseen error. `linger_s` is how long a
    batch with room waits for company.
    """

    def __init__(
        self, make: Make, *, most: int, capacity: int, making: str, linger_s: float = LINGER_S
    ) -> None:
        self.stopped = False
        self.most = most
        self._make = make
        self._capacity = capacity
        self._making = making
        self._linger_s = linger_s
        self._waiting: list[Piece] = []
        self._changed = threading.Condition()
        # When the last batch of several orders ended: then their clients may be about to return.
        self._crowded_at = -linger_s
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)
        self._thread.start()

    def do(self, order: Order) -> list[Any]:
        """The results of the order's pieces, in order; raises what ended it otherwise."""
        order.emit(Progress(0.0))
        with self._changed:
            if self.stopped:
                raise InferenceError("The model was stopped.")
            self._waiting += order.pieces
            self._changed.notify_all()
        while not order.ended.wait(ASK_S):
            if not order.begun:
                order.tell(Progress(0.0))
        if order.failure is not None:
            raise order.failure
        return [piece.result for piece in order.pieces]

    def close(self) -> None:
        """End the thread: what runs stops at its next step, and what waits fails."""
        with self._changed:
            self.stopped = True
            self._changed.notify_all()
        self._thread.join(CLOSE_S)

    def _work(self) -> None:
        while batch := self._next():
            self._attempt(batch)
            if len({piece.order for piece in batch}) > 1:
                self._crowded_at = time.monotonic()
        for piece in self._waiting:
            piece.order.fail(InferenceError("The model was stopped."))

    def _next(self) -> list[Piece]:
        """Wait for the next batch; it is empty when there will be none."""
        with self._changed:
            while not self.stopped:
                self._waiting = [piece for piece in self._waiting if not piece.order.over]
                if not self._waiting:
                    self._changed.wait()
                    continue
                if self._expects_company():
                    self._changed.wait_for(lambda: self.stopped or self._is_full(), self._linger_s)
                if not self.stopped:
                    batch = self._compatible()
                    self._waiting = [piece for piece in self._waiting if piece not in batch]
                    return batch
            return []

    def _expects_company(self) -> bool:
        """Whether others have just come or gone: a lone request never waits."""
        orders = {piece.order for piece in self._compatible()}
        return len(orders) > 1 or time.monotonic() - self._crowded_at < self._linger_s

    def _is_full(self) -> bool:
        batch = self._compatible()
        weight = sum(piece.weight for piece in batch) + batch[0].weight
        return len(batch) >= self.most or weight > self._capacity

    def _compatible(self) -> list[Piece]:
        """The first that waits, and as many behind as can go with it."""
        batch = [self._waiting[0]]
        weight = batch[0].weight
        for piece in self._waiting[1:]:
            fits = len(batch) < self.most and weight + piece.weight <= self._capacity
            if fits and piece.key == batch[0].key:
                batch.append(piece)
                weight += piece.weight
        return batch

    def _attempt(self, batch: list[Piece]) -> None:
        """Make a batch. If it fails, each piece is tried alone, so that one can't harm others."""
        for piece in batch:
            piece.order.begun = True
        try:
            results = self._make(batch)
        except Abandoned:
            # Some may be wanted still, if it is the model that stops.
            for piece in batch:
                piece.order.fail(InferenceError("The model was stopped."))
            return
        except Exception as error:
            failure = error
        else:
            for piece, result in zip(batch, results, strict=True):
                piece.result, piece.made = result, True
                piece.order.settle()
            return
        if len(batch) == 1:
            batch[0].order.fail(self._explained(failure))
            return
        log.warning("A batch of %d failed, now one by one: %s", len(batch), failure)
        for piece in batch:
            if not piece.order.over:
                self._attempt([piece])

    def _explained(self, error: Exception) -> InferenceError:
        if isinstance(error, InferenceError):
            return error
        log.error("%s failed.", self._making, exc_info=error)
        failure = InferenceError(f"{self._making} failed: {error}")
        failure.__cause__ = error
        return failure
