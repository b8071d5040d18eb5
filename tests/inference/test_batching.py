"""Who waits for whom: the line before a model that makes several things at once."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from inference import batching
from inference.batching import Abandoned, Order, Piece, Worker
from inference.errors import Cancelled, InferenceError
from inference.types import Event


class Kitchen:
    """Makes what is asked for, batch after batch; each begins when `go` says so."""

    def __init__(self, **limits: Any) -> None:
        self.batches: list[list[Any]] = []
        self.began_at: list[float] = []
        self.go = threading.Semaphore(0)
        settings = {"most": 4, "capacity": 100, "making": "Cooking", **limits}
        self.worker = Worker(self.make, **settings)
        self.pool = ThreadPoolExecutor(20)

    def make(self, batch: list[Piece]) -> list[Any]:
        self.began_at.append(time.monotonic())
        self.batches.append([piece.subject for piece in batch])
        assert self.go.acquire(timeout=30)
        if any(piece.subject == "poison" for piece in batch):
            raise ValueError("poison")
        for piece in batch:
            piece.fraction = 0.5
            piece.order.tell_progress()
        if self.worker.stopped or all(piece.order.over for piece in batch):
            raise Abandoned
        return [f"{piece.subject}!" for piece in batch]

    def order(
        self, *subjects: str, key: str = "", weight: int = 1, emit: Callable[[Event], None] = print
    ) -> "Future[list[Any]]":
        """Order these from another thread, after whoever ordered before."""
        order = Order(emit)
        order.pieces = [Piece(order, key, weight, subject) for subject in subjects]
        before = self.seen()
        answer = self.pool.submit(self.worker.do, order)
        until(lambda: self.seen() > before or answer.done())
        return answer

    def seen(self) -> int:
        """How many pieces have come."""
        return len(self.worker._waiting) + sum(len(batch) for batch in self.batches)

    def keep_busy(self) -> "Future[list[Any]]":
        answer = self.order("first", key="alone")
        until(lambda: self.batches == [["first"]])
        return answer

    def finish(self) -> None:
        for _ in range(50):
            self.go.release()


def until(true: Callable[[], bool]) -> None:
    for _ in range(3000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("It never became true.")


@pytest.fixture
def open_kitchen() -> Iterator[Callable[..., Kitchen]]:
    kitchens: list[Kitchen] = []

    def start(**limits: Any) -> Kitchen:
        kitchens.append(Kitchen(**limits))
        return kitchens[-1]

    yield start
    for kitchen in kitchens:
        kitchen.finish()
        kitchen.worker.close()
        kitchen.pool.shutdown()


OpenKitchen = Callable[..., Kitchen]


def test_what_is_alike_goes_together(open_kitchen: OpenKitchen) -> None:
    kitchen = open_kitchen()
    kitchen.keep_busy()
    soup = [kitchen.order(f"soup {number}", key="soup") for number in range(3)]
    salad = kitchen.order("salad", key="salad")
    more = [kitchen.order(f"soup {number}", key="soup") for number in range(3, 5)]
    kitchen.finish()
    assert [answer.result(30) for answer in soup + more] == [[f"soup {n}!"] for n in range(5)]
    assert salad.result(30) == ["salad!"]
    # The first who waits comes first, with whoever can go along; four at most.
    assert kitchen.batches[1:] == [
        ["soup 0", "soup 1", "soup 2", "soup 3"], ["salad"], ["soup 4"],
    ]  # fmt: skip


def test_the_pieces_of_one_order_are_a_batch(open_kitchen: OpenKitchen) -> None:
    kitchen = open_kitchen()
    kitchen.finish()
    assert kitchen.order("a", "b", "c", "d", "e").result(30) == ["a!", "b!", "c!", "d!", "e!"]
    assert kitchen.batches == [["a", "b", "c", "d"], ["e"]]


def test_a_batch_weighs_no_more_than_it_may(open_kitchen: OpenKitchen) -> None:
    kitchen = open_kitchen(capacity=100)
    kitchen.keep_busy()
    orders = [kitchen.order(name, weight=weight) for name, weight in
              [("a", 60), ("b", 60), ("c", 40), ("d", 300)]]  # fmt: skip
    kitchen.finish()
    for answer in orders:
        answer.result(30)
    assert kitchen.batches[1:] == [["a", "c"], ["b"], ["d"]]


def test_a_lone_order_does_not_linger(open_kitchen: OpenKitchen) -> None:
    kitchen = open_kitchen(linger_s=5.0)
    kitchen.worker._crowded_at = -100.0
    kitchen.finish()
    started = time.monotonic()
    assert kitchen.order("a", "b").result(30) == ["a!", "b!"]
    assert time.monotonic() - started < 2


def test_a_batch_with_room_lingers_for_company(open_kitchen: OpenKitchen) -> None:
    kitchen = open_kitchen(linger_s=3.0)
    kitchen.keep_busy()
    kitchen.order("a")
    kitchen.order("b")
    kitchen.go.release()
    time.sleep(0.2)
    last = kitchen.order("c")
    assert kitchen.batches == [["first"]]
    # The fourth fills it: nothing more to wait for.
    kitchen.order("d")
    kitchen.finish()
    last.result(2)
    assert kitchen.batches[1] == ["a", "b", "c", "d"]


def test_a_listener_that_raises_ends_its_own_order(open_kitchen: OpenKitchen) -> None:
    kitchen = open_kitchen()
    kitchen.keep_busy()

    def cancel(event: Event) -> None:
        if getattr(event, "fraction", 0.0) > 0:
            raise Cancelled

    leaving, staying = kitchen.order("a", emit=cancel), kitchen.order("b")
    kitchen.finish()
    with pytest.raises(Cancelled):
        leaving.result(30)
    assert staying.result(30) == ["b!"]


def test_what_was_cancelled_while_it_waited_is_never_made(
    open_kitchen: OpenKitchen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "ASK_S", 0.05)
    kitchen = open_kitchen()
    kitchen.keep_busy()
    heard: list[Event] = []

    def cancel(event: Event) -> None:
        heard.append(event)
        if len(heard) > 2:
            raise Cancelled

    leaving, staying = kitchen.order("a", emit=cancel), kitchen.order("b")
    with pytest.raises(Cancelled):
        leaving.result(30)
    kitchen.finish()
    assert staying.result(30) == ["b!"]
    assert kitchen.batches[1:] == [["b"]]


def test_one_that_fails_is_told_alone(open_kitchen: OpenKitchen) -> None:
    kitchen = open_kitchen()
    kitchen.keep_busy()
    orders = [kitchen.order(name) for name in ("a", "poison", "b")]
    kitchen.finish()
    assert orders[0].result(30) == ["a!"]
    assert orders[2].result(30) == ["b!"]
    with pytest.raises(InferenceError, match=r"^Cooking failed: poison$"):
        orders[1].result(30)
    assert kitchen.batches[1:] == [["a", "poison", "b"], ["a"], ["poison"], ["b"]]


def test_closing_fails_what_runs_and_what_waits(open_kitchen: OpenKitchen) -> None:
    kitchen = open_kitchen()
    running, waiting = kitchen.keep_busy(), kitchen.order("a")
    closing = kitchen.pool.submit(kitchen.worker.close)
    until(lambda: kitchen.worker.stopped)
    kitchen.finish()
    closing.result(30)
    for answer in (running, waiting, kitchen.order("b")):
        with pytest.raises(InferenceError, match="The model was stopped"):
            answer.result(30)
    assert kitchen.batches == [["first"]]
