"""The text models that the clients drive, and what must be known of each to drive it."""

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Model:
    """`letters` are the tokens "A" and "B", `nul` says a NUL, `ends` end an answer.

    `thoughts` begin and end what a model thinks; with `thinks` "may" it can be told not to.
    `price` is of input, cached input and output by the million tokens, in USD; None is flat.
    """

    id: str
    letters: tuple[int, int]
    nul: int
    ends: tuple[int, ...]
    thinks: Literal["never", "may", "always"] = "never"
    thoughts: tuple[int, int] | None = None
    price: tuple[float, float, float] | None = None

    def body(self, **fields: Any) -> dict[str, Any]:
        """What to send so that an answer comes: random weights think until they are told not to."""
        bias: dict[str, float] = dict(fields.pop("logit_bias", {}))
        if self.thinks == "may":
            fields.setdefault("reasoning_effort", "none")
        if self.thinks == "always":
            assert self.thoughts is not None
            bias.setdefault(str(self.thoughts[1]), END_OF_THOUGHT)
        more = {"logit_bias": bias} if bias else {}
        return {"model": self.id, "temperature": 1, "seed": 1, "max_tokens": 300, **fields, **more}

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


# Enough that it comes within some tokens.
END_OF_THOUGHT = 12.0
PRICE = (10.0, 2.5, 40.0)
LETTERS, ENDS = (32, 33), (257,)
MODELS = [
    Model("smollm2-135m", (49, 50), 190, (0, 2)),
    Model("smollm2-transformers", (49, 50), 190, (0, 2)),
    Model("tiny-qwen3", LETTERS, 188, (256, 258), "may", (261, 262), PRICE),
    Model("tiny-gemma3", (295, 296), 6, (1, 5), price=PRICE),
    Model("tiny-deepseek-qwen", LETTERS, 188, ENDS, "always", (260, 261), PRICE),
    Model("tiny-deepseek-llama", LETTERS, 188, ENDS, "always", (260, 261), PRICE),
]
