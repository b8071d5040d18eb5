"""One answer on its way from tokens to what the client hears."""

from typing import Any

from inference.decoding.sampling import Chosen
from inference.text.dialect import Piece, Splitter
from inference.text.stops import Stops
from inference.text.vocabulary import Vocabulary
from inference.types import ChatRequest, Delta


class Writer:
    """Turns the tokens of answer `index` into Deltas, and into a choice at its end."""

    def __init__(
        self, index: int, vocabulary: Vocabulary, splitter: Splitter, request: ChatRequest
    ) -> None:
        self.index = index
        self.tokens = self.reasoning_tokens = 0
        self.finish_reason: str | None = None
        self._vocabulary, self._splitter = vocabulary, splitter
        self._stream = vocabulary.stream()
        self._stops = Stops(request.stop)
        self._logprobs: list[dict[str, Any]] | None = [] if request.logprobs else None
        # Log probabilities, and how many tokens, of text that is held back.
        self._held: list[dict[str, Any]] = []
        self._unsaid = 0
        self._said: dict[str, str] = {}
        self._calls: dict[str, Any] = {}

    def is_over(self) -> bool:
        """Whether nothing more of it will be heard."""
        return self.finish_reason is not None

    def take(self, chosen: Chosen, last: str | None) -> list[Delta]:
        """The Deltas of one more token; `last` says why it is the last one, if it is."""
        self.tokens += 1
        self._unsaid += 1
        thinking = self._splitter.reasoning
        ended = last == "stop"  # a token that says only that
        pieces = [] if ended else self._splitter.feed(self._stream.step(chosen.token))
        if thinking or self._splitter.reasoning:
            self.reasoning_tokens += 1
        elif self._logprobs is not None and not ended and not self._splitter.calling:
            self._held.append(self._entry(chosen))
        if last is not None:
            pieces += self._splitter.finish()
        deltas = [delta for piece in pieces for delta in self._say(piece)]
        if last is not None and self.finish_reason is None:
            self.finish_reason = "tool_calls" if self._calls and last == "stop" else last
            # Tokens that end within a character have no text, but are told of.
            if (rest := self._stops.finish()) or self._held:
                deltas.append(self._delta("content", rest))
        return self._counted(deltas, last is not None)

    def choice(self) -> dict[str, Any]:
        """The finished answer, as `types.Result` says."""
        choice: dict[str, Any] = {
            "index": self.index,
            "text": self._said.get("content", ""),
            "finish_reason": self.finish_reason,
        }
        if reasoning := self._said.get("reasoning"):
            choice["reasoning"] = reasoning
        if self._calls:
            choice["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": self._said.get(part, "")},
                }
                for part, call in self._calls.items()
            ]
        if self._logprobs is not None:
            choice["logprobs"] = {"content": self._logprobs}
        return choice

    def _say(self, piece: Piece) -> list[Delta]:
        if self.finish_reason is not None:
            return []
        if piece.part != "content":
            if piece.call is not None:
                self._calls[piece.part] = piece.call
            return [self._delta(piece.part, piece.text, piece)]
        text, stopped = self._stops.feed(piece.text)
        if stopped:
            self.finish_reason = "stop"
        return [self._delta("content", text)] if text else []

    def _delta(self, part: str, text: str, piece: Piece | None = None) -> Delta:
        self._said[part] = self._said.get(part, "") + text
        told: list[dict[str, Any]] = []
        if part == "content" and self._logprobs is not None:
            told, self._held = self._held, []
            self._logprobs += told
        call = piece.call if piece is not None else None
        return Delta(text, self.index, part, 0, call, told)

    def _counted(self, deltas: list[Delta], last: bool) -> list[Delta]:
        """The tokens since the last Delta belong to the next one."""
        if not deltas and last and self._unsaid:
            deltas = [Delta("", self.index, tokens=0)]
        if deltas:
            first = deltas[0]
            deltas[0] = Delta(
                first.text, self.index, first.part, self._unsaid, first.call, first.logprobs
            )
            self._unsaid = 0
        return deltas

    def _entry(self, chosen: Chosen) -> dict[str, Any]:
        return {
            **self._one(chosen.token, chosen.logprob),
            "top_logprobs": [self._one(token, logprob) for token, logprob in chosen.likeliest],
        }

    def _one(self, token: int, logprob: float) -> dict[str, Any]:
        text = self._vocabulary.text(token)
        return {"token": text, "logprob": logprob, "bytes": self._vocabulary.bytes(token)}
