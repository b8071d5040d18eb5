"""One job in one pod: from the claim, through the engine, to the settled row."""

import logging
import math
import time
from dataclasses import replace
from typing import Any

from billing import pricing
from billing.pricing import Measures, Price
from inference.errors import Cancelled, InferenceError
from inference.types import (
    Delta,
    Engine,
    Event,
    Kind,
    Preview,
    Progress,
    Read,
    Result,
    Sound,
    request_from,
)
from modelpilot import logs
from modelpilot.jobs import lease, measures, storage
from modelpilot.jobs.cancel import CANCEL_AFTER_PASSED, CANCELLED
from modelpilot.jobs.characters import storable, storable_delta
from modelpilot.jobs.lease import Claim
from modelpilot.jobs.models import Job
from modelpilot.jobs.rescue import DEADLINE_PASSED
from modelpilot.jobs.stream import Publisher

log = logging.getLogger(__name__)

BROKEN = {
    "code": "generation_failed",
    "message": "The model failed on this request. Nothing was charged; try again or change it.",
    "status": 500,
}


class Run:
    """Holds what one attempt has produced, and stops it when it must."""

    def __init__(self, claim: Claim, publisher: Publisher) -> None:
        self.claim = claim
        self.channel = publisher.open(claim.id, claim.attempt)
        self.deadline = time.monotonic() + claim.remaining_s
        # When the client's `Cancel-After` is over.
        patience_s = math.inf if claim.cancel_in_s is None else claim.cancel_in_s
        self.cancel_at = time.monotonic() + patience_s
        self.started = time.monotonic()
        # Whether the client has got something that it pays for.
        self.delivered = False
        # What was read and said so far: all that a stopped job pays for, where it pays by that.
        self.tokens_in = self.tokens_cached = 0
        self.tokens_out = self.tokens_reasoning = 0
        self.characters = 0
        # Whether the row says that the client may have got a part of the answer.
        self.begun = claim.stream
        self.stopped: str | None = None
        self.stopped_at = 0.0
        self.succeeded = False

    def stop(self, reason: str) -> None:
        """End the work at its next step: "cancelled", "cancel-after", "deadline", "lost" or
        "draining"."""
        if self.stopped is None:
            self.stopped, self.stopped_at = reason, time.monotonic()

    def check(self) -> None:
        """Raises Cancelled for a job that should stop. A heart that looks every few seconds is
        not enough for a client's `Cancel-After`."""
        if time.monotonic() > self.cancel_at:
            self.stop("cancel-after")
        if self.stopped is not None:
            raise Cancelled

    def emit(self, event: Event) -> None:
        self.check()
        match event:
            case Delta():
                self.tokens_out += event.tokens
                if event.part == "reasoning":
                    self.tokens_reasoning += event.tokens
                if event.text or event.call or event.logprobs:
                    self.delivered = True
                    self.channel.delta(storable_delta(event))
            case Read(tokens=tokens, cached=cached):
                self.tokens_in, self.tokens_cached = tokens, cached
            case Sound(content=content, characters=characters):
                if content:
                    self.sound(event)
                    self.characters += characters
                    self.delivered = True
            case Progress(fraction=fraction):
                self.channel.progress(fraction)
            case Preview(content=content):
                self.channel.preview(content)

    def sound(self, sound: Sound) -> None:
        """Give a spoken sentence to the client, if one waits for it.

        The row says so before: a job of which bytes were sent is never repeated, since
        a second voice would go on from another place.
        """
        if not self.claim.watched:
            return
        if not self.begun:
            if not lease.begin_sending(self.claim):
                self.stop("lost")
                raise Cancelled
            self.begun = True
        self.channel.sound(sound.content, sound.sample_rate, sound.warnings)

    def work(self, engine: Engine) -> None:
        """Run the job to its end, whatever that is. Raises only when the database stays away."""
        logs.request_id.set(self.claim.request_id)
        try:
            self.check()
            request = request_from(Kind(self.claim.kind), self.claim.request)
            result = engine.generate(request, self.emit)
        except Cancelled:
            self.conclude_stopped()
        except Exception as error:
            self.conclude_broken(error)
        else:
            self.succeed(result)

    def conclude_broken(self, error: Exception) -> None:
        if self.stopped is not None:
            # Told to stop, an engine may end any way it likes: it is closed under the last ones.
            self.conclude_stopped()
        elif isinstance(error, InferenceError):
            self.fail(self.explained(error))
        else:
            log.error("Job %s broke the engine.", self.claim.id, exc_info=error)
            self.fail(BROKEN)

    def succeed(self, result: Result) -> None:
        try:
            outputs = storage.store(self.claim.id, self.claim.attempt, result.files)
        except OSError:
            log.exception("The outputs of job %s could not be stored.", self.claim.id)
            self.fail(NOT_STORED)
            return
        data = storable({**result.data, "warnings": result.warnings})
        charge = self.cost(measures.of_result(self.claim.kind, self.claim.request, result.data))
        self.finish(Job.State.SUCCEEDED, charge=charge, result=data, outputs=outputs)
        self.succeeded = True

    def explained(self, error: InferenceError) -> dict[str, Any]:
        """What the client is told: why its request can't be answered, but not why we failed."""
        if error.param or error.code in CLIENT_ERRORS:
            return {
                "code": error.code,
                "message": error.message,
                "param": error.param,
                "status": 400,
            }
        log.error("Job %s failed: %s", self.claim.id, error.message)
        return BROKEN

    def fail(self, error: dict[str, Any]) -> None:
        self.finish(Job.State.FAILED, charge=0, error=storable(error))

    def conclude_stopped(self) -> None:
        if self.stopped in ("cancelled", "cancel-after"):
            self.finish(
                Job.State.CANCELLED,
                charge=self.cost(self.so_far()) if self.delivered else 0,
                result=self.partial_result(),
                error=CANCELLED if self.stopped == "cancelled" else CANCEL_AFTER_PASSED,
            )
        elif self.stopped == "deadline":
            self.fail(DEADLINE_PASSED)
        # "lost" and "draining": the job is, or will be, somebody else's.

    def partial_result(self) -> dict[str, Any] | None:
        """What the client got of an answer that was cancelled."""
        choices = self.channel.choices("cancelled")
        return {"choices": choices, "usage": self.usage()} if choices else None

    def usage(self) -> dict[str, Any]:
        """What was read and said so far, as engines tell it of a whole answer."""
        return {
            "prompt_tokens": self.tokens_in,
            "completion_tokens": self.tokens_out,
            "total_tokens": self.tokens_in + self.tokens_out,
            "prompt_tokens_details": {"cached_tokens": self.tokens_cached},
            "completion_tokens_details": {"reasoning_tokens": self.tokens_reasoning},
        }

    def so_far(self) -> Measures:
        """A flat price is due in full once something was delivered, others by what was."""
        done = measures.of_result(self.claim.kind, self.claim.request, {"usage": self.usage()})
        return replace(done, characters=min(done.characters, self.characters))

    def cost(self, measured: Measures) -> int:
        """Micro-dollars, at the price at which the job was accepted."""
        if self.claim.tariff is None:
            return self.claim.price
        return pricing.cost(Price.from_json(self.claim.tariff), measured)

    def finish(self, state: Job.State, **fields: Any) -> None:
        if lease.finish(self.claim, state, **fields):
            # After the commit, so that whoever hears it finds the row.
            self.channel.end()
        else:
            log.warning(
                "Job %s is no longer attempt %d's: nothing was written.",
                self.claim.id,
                self.claim.attempt,
            )


CLIENT_ERRORS = {"invalid_value", "context_length_exceeded"}

NOT_STORED = {
    "code": "output_not_stored",
    "message": "The result could not be stored. Nothing was charged; the operator's log says why.",
    "status": 500,
}
