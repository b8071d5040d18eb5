"""The loop that writes all answers of a model at once, a token of each in every step.

Requests come and go between two steps (continuous batching). A long prompt is read in pieces,
beside the answers that are being written. Where the cache runs full, the youngest answer gives
its pages back and is read again later; it goes on as if nothing had been.
"""

import logging
import threading
from collections import deque
from dataclasses import dataclass, field
from queue import SimpleQueue

import torch

from inference.decoding.pages import Pages
from inference.decoding.runner import Runner
from inference.decoding.sampling import Chosen, Sampling, choose
from inference.decoding.step import PAGE, Part, pages_for
from inference.errors import InferenceError

log = logging.getLogger(__name__)


class LoopError(InferenceError):
    """The model failed while it worked on this request."""

    retryable = True


@dataclass(frozen=True, slots=True)
class Told:
    """What the loop says of answer `index`: a token that was `chosen`, or that the prompt has been
    read, `cached` tokens of which were known. `last` says why the answer ends, if it does."""

    index: int
    chosen: Chosen | None = None
    cached: int = 0
    last: str | None = None


Outbox = SimpleQueue[Told | InferenceError]


@dataclass(eq=False, slots=True)
class Answer:
    """One answer that is being written. `tokens` begin with the prompt's `prompt` tokens.

    `most` is how many tokens the answer may have, `ends` are the tokens that end it. `leader` is
    another answer to the same prompt, which is read first, for its pages.
    """

    index: int
    tokens: list[int]
    prompt: int
    most: int
    ends: frozenset[int]
    sampling: Sampling
    outbox: Outbox
    leader: "Answer | None" = None
    pages: list[int] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    # How many tokens the cache holds.
    read: int = 0
    cached: int | None = None
    over: bool = False
    unwanted: bool = False

    @property
    def written(self) -> int:
        return len(self.tokens) - self.prompt


class Loop:
    """What a model's runner is to run next, and the thread that drives it.

    `budget` is how many tokens of prompts are read in one step beside the answers; `rows` the
    most answers at once; `threads` are for the CPU.
    """

    def __init__(self, runner: Runner, pages: int, *, budget: int, rows: int, threads: int) -> None:
        self.runner = runner
        self.pages = Pages(pages, PAGE)
        self._budget, self._rows, self._threads = budget, rows, threads
        self._changed = threading.Condition()
        self._arrived: deque[Answer] = deque()
        self._unwanted: list[Answer] = []
        self._waiting: list[Answer] = []
        self._running: list[Answer] = []
        self._untold: list[tuple[Answer, Told]] = []
        self._stopped = False
        self._thread: threading.Thread | None = None

    @property
    def room(self) -> int:
        """How many tokens the cache holds."""
        return self.pages.count * PAGE

    # For the threads of requests

    def submit(self, answers: list[Answer]) -> None:
        """Write these answers; each `outbox` hears of it. Starts the thread if it is not there."""
        with self._changed:
            if self._stopped:
                raise InferenceError("The model was stopped.")
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="decoding", daemon=True)
                self._thread.start()
            self._arrived += answers
            self._changed.notify()

    def drop(self, answers: list[Answer]) -> None:
        """Write them no longer; returns when their pages are free."""
        with self._changed:
            for answer in answers:
                answer.unwanted = True
            self._unwanted += [answer for answer in answers if not answer.over]
            self._changed.notify_all()
            self._changed.wait_for(lambda: all(answer.over for answer in answers))

    def close(self) -> None:
        """End the thread; what it worked on fails."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()

    # The thread

    def _work(self) -> None:
        torch.set_num_threads(self._threads)
        failure: InferenceError = LoopError()
        try:
            while self._next():
                try:
                    with torch.inference_mode():
                        self._step()
                except Exception as error:
                    log.exception("A step failed: its requests fail, and the cache begins anew.")
                    with self._changed:
                        self._fail(LoopError(f"The model failed on this request: {error}"))
            failure = InferenceError("The model was stopped.")
        finally:
            with self._changed:
                self._fail(failure)
                if not self._stopped:
                    log.error("The thread of the model has died; the next request has another.")
                    # Not asked of the thread itself, which lives on for a moment.
                    self._thread = None

    def _next(self) -> bool:
        """Wait for work, let come and go who wants; False: the loop has been closed."""
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._stopped
                    or self._arrived
                    or self._unwanted
                    or self._waiting
                    or self._running
                )
            )
            self._waiting += self._arrived
            self._arrived.clear()
            if self._unwanted:
                for answer in self._unwanted:
                    self._end(answer)
                self._unwanted.clear()
                self._changed.notify_all()
            return not self._stopped

    def _end(self, answer: Answer) -> None:
        if not answer.over:
            answer.over = True
            self._free(answer)
            for crowd in (self._running, self._waiting):
                if answer in crowd:
                    crowd.remove(answer)

    def _free(self, answer: Answer) -> None:
        self.pages.release(answer.pages)
        answer.pages, answer.keys, answer.read = [], [], 0

    def _fail(self, error: InferenceError) -> None:
        self._tell()
        for answer in [*self._running, *self._waiting, *self._arrived]:
            answer.over = True
            answer.outbox.put(error)
        self._running, self._waiting = [], []
        self._arrived.clear()
        self._unwanted.clear()
        # Nobody knows how far the step had come.
        self.pages = Pages(self.pages.count, PAGE)
        self._changed.notify_all()

    def _step(self) -> None:
        """One token more for each answer, and some of the prompts."""
        self._admit()
        pieces = self._pieces()
        if not pieces:
            self._tell()
            return
        finished = [answer for answer, count in pieces if answer.read + count == len(answer.tokens)]
        logits = self.runner.run([self._part(answer, count) for answer, count in pieces])
        # A GPU has just begun: those whom this wakes have time until it is done.
        self._tell()
        for answer, count in pieces:
            self._note_read(answer, count)
        if finished:
            rows = [answer.sampling for answer in finished]
            for answer, chosen in zip(finished, choose(logits, rows), strict=True):
                self._deliver(answer, chosen)
        if not (self.runner.ahead and self._running):
            self._tell()

    def _tell(self) -> None:
        """Tell the requests what has come for them."""
        for answer, told in self._untold:
            if not answer.unwanted:
                answer.outbox.put(told)
        self._untold.clear()

    def _admit(self) -> None:
        for answer in list(self._waiting):
            if len(self._running) >= self._rows:
                return
            leader = answer.leader
            if leader is not None and not leader.over and leader.read < leader.prompt:
                continue
            if not self._begin(answer):
                return
            self._waiting.remove(answer)
            self._running.append(answer)

    def _begin(self, answer: Answer) -> bool:
        """Give an answer the pages for what it has so far, if there are enough."""
        # The last token is always read: without, there is nothing to go on from.
        known, keys = self.pages.find(answer.tokens, len(answer.tokens) - 1)
        missing = pages_for(len(answer.tokens)) - len(known)
        # Beside others, some room to write in.
        spare = len(self._running)
        taken = self.pages.take(missing) if missing + spare <= self.pages.available else None
        if taken is None:
            self.pages.release(known)
            return False
        answer.pages, answer.keys = known + taken, keys
        answer.read = len(known) * PAGE
        if answer.cached is None:
            answer.cached = answer.read
        return True

    def _pieces(self) -> list[tuple[Answer, int]]:
        """Who reads how many tokens in this step: those that write first, then prompts."""
        budget = self._budget
        writing: list[tuple[Answer, int]] = []
        reading: list[tuple[Answer, int]] = []
        for answer in list(self._running):
            if answer not in self._running:
                continue  # it has just made room for another
            missing = len(answer.tokens) - answer.read
            if missing == 1:
                if self._has_room(answer):
                    writing.append((answer, 1))
            elif budget > 0:
                count = min(missing, budget)
                budget -= count
                reading.append((answer, count))
        running = set(map(id, self._running))
        return [piece for piece in writing + reading if id(piece[0]) in running]

    def _has_room(self, answer: Answer) -> bool:
        """Whether there is a page for its next token; others may have to go for it."""
        while len(answer.pages) < pages_for(len(answer.tokens)):
            taken = self.pages.take(1)
            if taken is not None:
                answer.pages += taken
                continue
            youngest = self._running[-1]
            self._free(youngest)
            self._running.remove(youngest)
            self._waiting.insert(0, youngest)
            if youngest is answer:
                return False
        return True

    def _part(self, answer: Answer, count: int) -> Part:
        end = answer.read + count
        kept = end == len(answer.tokens)
        return Part(answer.tokens[answer.read : end], answer.read, answer.pages, kept)

    def _note_read(self, answer: Answer, count: int) -> None:
        before = answer.read
        answer.read += count
        for number in range(len(answer.keys), answer.read // PAGE):
            key = answer.keys[-1] if answer.keys else b""
            key = Pages.key(key, answer.tokens[number * PAGE : (number + 1) * PAGE])
            answer.keys.append(key)
            self.pages.remember(answer.pages[number], key)
        if before < answer.prompt <= answer.read and answer.written == 0:
            self._untold.append((answer, Told(answer.index, cached=answer.cached or 0)))

    def _deliver(self, answer: Answer, chosen: Chosen) -> None:
        answer.tokens.append(chosen.token)
        last = None
        if chosen.token in answer.ends:
            last = "stop"
        elif answer.written >= answer.most:
            last = "length"
        if last is not None:
            self._end(answer)
        self._untold.append((answer, Told(answer.index, chosen, last=last)))
