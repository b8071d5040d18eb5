"""Speech to text by transformers' Whisper, in windows of 30 seconds."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from inference.catalog import Card
from inference.errors import InvalidRequest
from inference.sound import recordings, transcripts
from inference.sound.recordings import RATE, Samples
from inference.sound.transcripts import Segment
from inference.types import Delta, Device, Emit, Engine, Progress, Result, TranscriptionRequest
from inference.weights import Weights

WINDOW_S = 30.0
# What is left of a recording and shorter than this holds no word.
SHORTEST_S = 0.1


def load(card: Card, weights: Weights, device: Device) -> Engine:
    """Load the model in the folder `model`; only safetensors, no code. Half precision on a GPU."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(device.threads)
    folder = str(weights.path("model"))
    where = "cpu" if device.kind == "cpu" else f"{device.kind}:{device.index}"
    model = transformers.WhisperForConditionalGeneration.from_pretrained(
        folder,
        dtype=torch.float32 if device.kind == "cpu" else torch.float16,
        local_files_only=True,
        use_safetensors=True,
    )
    return Whisper(card, weights.path("model"), model.eval().to(where))


class Whisper:
    """The loaded model; it listens to one recording at a time."""

    def __init__(self, card: Card, folder: Path, model: Any) -> None:
        assert card.max_seconds is not None
        self.slots = card.slots
        self._card = card
        self._max_seconds = card.max_seconds
        self._model = model
        self._ears = transformers.WhisperFeatureExtractor.from_pretrained(
            str(folder), local_files_only=True
        )
        self._tokenizer = transformers.WhisperTokenizer.from_pretrained(
            str(folder), local_files_only=True
        )
        self._listening = threading.Lock()

    def generate(self, request: TranscriptionRequest, emit: Emit) -> Result:
        """Write down what is said; emits a Delta for each piece of speech, and Progress.

        Raises InvalidRequest for a recording that can't be read and for what the model can't
        do, and whatever `emit` raises.
        """
        self._check(request)
        # Before anything is told: a stream that has begun could not be refused any more.
        samples = recordings.decode(request.audio, self._max_seconds)
        emit(Progress(0.0))
        with self._listening:
            language = request.language or self._language(samples)
            segments = self._listen(samples, replace(request, language=language), emit)
        return transcripts.result(segments, samples, LANGUAGES[language], request.temperature)

    def close(self) -> None:
        """Free the model's memory."""
        self._model = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _check(self, request: TranscriptionRequest) -> None:
        if request.words:
            raise InvalidRequest(
                f"{self._card.id} knows the times of segments, and not of words: leave 'word' out.",
                param="timestamp_granularities",
            )
        known = self._model.generation_config.lang_to_id
        if request.language is not None and f"<|{request.language}|>" not in known:
            raise InvalidRequest(
                f"{self._card.id} knows no 'language' {request.language!r}. Send a code of "
                "ISO 639-1, such as 'en', or leave it out.",
                param="language",
            )

    def _language(self, samples: Samples) -> str:
        """The code of the language of the first window."""
        with torch.inference_mode():
            token = self._model.detect_language(self._spectrum(samples[: int(WINDOW_S * RATE)]))
        return str(self._tokenizer.convert_ids_to_tokens(int(token[0]))).strip("<|>")

    def _listen(self, samples: Samples, request: TranscriptionRequest, emit: Emit) -> list[Segment]:
        total = samples.size / RATE
        segments: list[Segment] = []
        at = 0.0
        while total - at > SHORTEST_S:
            window = samples[int(at * RATE) : int((at + WINDOW_S) * RATE)]
            found = self._heard(window, at, total, request, emit)
            more = at + WINDOW_S < total
            if more and found and found[-1].start > at + WINDOW_S / 2:
                # The window's end may have cut off the last one, so it is heard again, whole.
                at = found.pop().start
            else:
                at += WINDOW_S
            for segment in found:
                if segment.text.strip():
                    segments.append(segment)
                    emit(Delta(segment.text, tokens=len(segment.tokens)))
            emit(Progress(min(1.0, at / total)))
        return segments

    def _heard(
        self, window: Samples, at: float, total: float, request: TranscriptionRequest, emit: Emit
    ) -> list[Segment]:
        """What is said in a window that begins at `at` seconds."""

        def asked(tokens: Any, scores: Any, **others: Any) -> Any:
            # For each token, so that a job that was cancelled stops.
            emit(Progress(min(1.0, at / total)))
            return torch.zeros(tokens.shape[0], dtype=torch.bool, device=tokens.device)

        sampling = {"do_sample": True, "temperature": request.temperature}
        with torch.inference_mode():
            answer = self._model.generate(
                self._spectrum(window),
                language=request.language,
                task="transcribe",
                return_timestamps=True,
                return_segments=True,
                return_dict_in_generate=True,
                output_scores=True,
                prompt_ids=self._prompt(request.prompt) if at == 0 else None,
                stopping_criteria=transformers.StoppingCriteriaList([asked]),
                **(sampling if request.temperature else {"do_sample": False}),
            )
        end = at + window.size / RATE
        segments = [self._segment(found, at, end) for found in answer["segments"][0]]
        # A window is filled up with silence, in which it may still hear something.
        return [segment for segment in segments if segment.start < end]

    def _segment(self, found: dict[str, Any], at: float, end: float) -> Segment:
        tokens = found["tokens"].tolist()
        return Segment(
            at + float(found["start"]),
            min(at + float(found["end"]), end),
            self._tokenizer.decode(tokens, skip_special_tokens=True),
            _logprob(found),
            seek_s=at,
            tokens=tokens,
        )

    def _spectrum(self, samples: Samples) -> Any:
        features = self._ears(
            samples.astype(np.float32) / 32768, sampling_rate=RATE, return_tensors="pt"
        ).input_features
        return features.to(self._model.device, self._model.dtype)

    def _prompt(self, prompt: str | None) -> Any:
        """The end of the prompt, as much as the model remembers."""
        if not prompt:
            return None
        tokens = self._tokenizer.get_prompt_ids(prompt, return_tensors="pt")
        most = self._model.config.max_target_positions // 2 - 1
        return torch.cat([tokens[:1], tokens[1:][-(most - 1) :]]).to(self._model.device)


def _logprob(found: dict[str, Any]) -> float:
    """The mean logarithm of the probabilities of a segment's tokens."""
    begin, end = found["idxs"]
    scores = found["result"]["scores"]
    # `scores` begin where the model did: behind what it was given.
    given = len(found["result"]["sequences"]) - len(scores)
    logprobs = [
        float(torch.log_softmax(scores[at - given].float(), -1)[found["result"]["sequences"][at]])
        for at in range(begin, end)
        if 0 <= at - given < len(scores)
    ]
    return sum(logprobs) / len(logprobs) if logprobs else 0.0
