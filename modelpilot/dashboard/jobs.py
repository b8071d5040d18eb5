"""Jobs: the list with its filters, and the page of each."""

import json
import uuid
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from inference.types import Kind
from modelpilot.accounts.models import ApiKey, User
from modelpilot.dashboard import calls, chart, media
from modelpilot.dashboard.media import Media
from modelpilot.dashboard.shell import current_user, signed_in
from modelpilot.dashboard.tags import seconds
from modelpilot.jobs import listing, usage
from modelpilot.jobs.ids import parse
from modelpilot.jobs.listing import NEWEST, SESSION, Choice
from modelpilot.jobs.models import Job

# Characters of a conversation that its page shows, from the end.
LONG = 20_000


@signed_in
def jobs(request: HttpRequest) -> HttpResponse:
    user = current_user(request)
    choice = choice_of(request)
    page = listing.page(user.id, choice, before_of(request))
    names = usage.key_names(user.id)
    context = {
        "rows": [Line(job, names) for job in page.jobs],
        "page": page,
        "choice": choice,
        "chosen": choice != Choice(),
        "seen": listing.SEEN,
        "first": "before" not in request.GET,
        "kinds": list(Kind),
        "states": Job.State.values,
        "models": sorted({*usage.models(user.id), *filter(None, [choice.model])}),
        "keys": [*names.items(), (SESSION, "This site")],
    }
    return render(request, "dashboard/jobs.html", context)


@signed_in
def line(request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
    """One row of the list, asked for again as long as its job runs."""
    owner = current_user(request).id
    job = listing.lines().filter(owner=owner, id=job_id).first()
    if job is None:
        raise Http404
    return render(request, "dashboard/job_line.html", {"row": Line(job, usage.key_names(owner))})


@signed_in
def job(request: HttpRequest, job_id: str) -> HttpResponse:
    user = current_user(request)
    found = find(user, job_id)
    context = {
        "view": View(found, usage.key_names(user.id)),
        "languages": calls.LANGUAGES,
        "deliveries": found.webhook_deliveries.order_by("created_at"),
    }
    return render(request, "dashboard/job.html", context)


@signed_in
def call(request: HttpRequest, job_id: str, language: str) -> HttpResponse:
    """The job as code to copy; apart from its page, as it may be long."""
    user = current_user(request)
    found = find(user, job_id)
    if language not in calls.LANGUAGES or not found.request:
        raise Http404
    key = ApiKey.objects.filter(user=user, revoked_at=None).order_by("-id").first()
    context = {
        "code": calls.sample(found, language, key),
        "label": "With the rest of your key in place of the …",
        "id": f"code-{language}",
    }
    return render(request, "parts/code.html", context)


def find(user: User, text: str) -> Job:
    """The user's job, under any spelling of its id; Http404 where it isn't theirs."""
    jobs = Job.objects.prefetch_related("outputs").filter(owner=user)
    found = jobs.filter(id=parse(text) or NEWEST).first()
    if found is None:
        raise Http404
    return found


def choice_of(request: HttpRequest) -> Choice:
    """What the query chooses; what it says wrongly chooses nothing."""
    kind, model, state, key = (
        request.GET.get(name, "").replace("\x00", "") for name in ("kind", "model", "state", "key")
    )
    return Choice(
        kind=kind if kind in list(Kind) else None,
        model=model[:100] or None,
        state=state if state in Job.State.values else None,
        key=int(key) if key.isascii() and key.isdecimal() and len(key) < 19 else None,
    )


def before_of(request: HttpRequest) -> uuid.UUID:
    return parse(request.GET.get("before", "")) or NEWEST


@dataclass(frozen=True)
class Line:
    """A job in a list."""

    job: Job
    key_names: dict[int, str]

    @cached_property
    def files(self) -> list[Media]:
        return media.of(self.job)

    @property
    def thumbnail(self) -> str:
        first = next(iter(self.files), None)
        if first is None:
            return ""
        return {"image": first.url, "video": first.poster}.get(first.shape, "")

    @property
    def sound(self) -> str:
        return next((file.url for file in self.files if file.shape == "audio"), "")

    @property
    def title(self) -> str:
        """What was asked, as one line."""
        excerpt = getattr(self.job, "excerpt", None)
        return " ".join(excerpt.split())[:140] if excerpt else ""

    @property
    def key(self) -> str:
        return key_name(self.job.key, self.key_names)

    @property
    def took(self) -> float | None:
        return took(self.job)


def key_name(key: int | None, names: dict[int, str]) -> str:
    return "This site" if key is None else names.get(key, f"Key {key}")


def took(job: Job) -> float | None:
    """Seconds from the creation of a job to its end."""
    return None if job.finished_at is None else (job.finished_at - job.created_at).total_seconds()


@dataclass(frozen=True)
class View:
    """A job on its own page."""

    job: Job
    key_names: dict[int, str]

    @cached_property
    def files(self) -> list[Media]:
        return media.of(self.job)

    @property
    def key(self) -> str:
        return key_name(self.job.key, self.key_names)

    @property
    def deleted(self) -> bool:
        """Whether its content was: a job that was accepted has been asked something."""
        return not self.job.request

    @property
    def messages(self) -> list[dict[str, str]]:
        """The last turns of the conversation, each as text."""
        shown: list[dict[str, str]] = []
        room = LONG
        for turn in reversed(self.job.request.get("messages") or []):
            text = text_of(turn)
            shown.append({"role": turn.get("role", ""), "text": cut(text, room)})
            room -= len(text)
            if room <= 0:
                break
        return shown[::-1]

    @property
    def prompt(self) -> str:
        asked = self.job.request
        text = asked.get("prompt") or asked.get("text") or "\n".join(asked.get("inputs") or [])
        return cut(text, LONG)

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """The rest of the request, but for what says nothing."""
        hidden = ("messages", "prompt", "text", "inputs")
        return [
            (named(name), written(value))
            for name, value in calls.said(self.job).items()
            if name not in hidden
        ]

    @property
    def answers(self) -> list[dict[str, Any]]:
        """The texts that came of it, whatever the kind calls them."""
        result = self.job.result or {}
        if "text" in result:
            return [{"text": str(result["text"])}]
        return [
            {
                "text": choice.get("text") or "",
                "reasoning": choice.get("reasoning") or "",
                "calls": json.dumps(choice["tool_calls"], indent=2)
                if choice.get("tool_calls")
                else "",
                "finish": choice.get("finish_reason") or "",
            }
            for choice in result.get("choices", ())
        ]

    @property
    def vectors(self) -> str:
        result = self.job.result or {}
        if "embeddings" not in result:
            return ""
        count = len(result["embeddings"])
        return f"{count} vector{'' if count == 1 else 's'} of {result['dimensions']} numbers"

    @property
    def particulars(self) -> list[tuple[str, str]]:
        """What the result says about its files and texts."""
        result = self.job.result or {}
        plain = ("width", "height", "num_frames", "fps", "duration_s", "sample_rate", "language")
        return [(named(name), written(result[name])) for name in plain if name in result]

    @property
    def used(self) -> list[tuple[str, str]]:
        """What it was measured by, such as tokens."""
        usage = (self.job.result or {}).get("usage") or {}
        return [(named(name), f"{n:,}") for name, n in usage.items() if isinstance(n, int) and n]

    @property
    def warnings(self) -> list[str]:
        return [str(warning) for warning in (self.job.result or {}).get("warnings") or []]

    @property
    def advice(self) -> str:
        return ADVICE.get((self.job.error or {}).get("code", ""), "")

    @property
    def spans(self) -> list[tuple[str, float]]:
        """Seconds that it waited and ran; in a queue that it has not left, none."""
        made, started, ended = self.job.created_at, self.job.started_at, self.job.finished_at
        if started is None or started < made:
            return [] if ended is None else [("Queued", (ended - made).total_seconds())]
        spans = [("Queued", (started - made).total_seconds())]
        return spans if ended is None else [*spans, ("Ran", (ended - started).total_seconds())]

    @property
    def phases(self) -> list[chart.Part]:
        return chart.parts(self.spans, lambda duration: seconds(duration))

    @property
    def took(self) -> float | None:
        return took(self.job)


def cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}…"


def text_of(turn: dict[str, Any]) -> str:
    content = turn.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(part.get("text", f"({part.get('type')})") for part in content)
    return json.dumps(turn.get("tool_calls") or "", indent=2)


def named(field: str) -> str:
    """A field's name as words: `num_frames`, `duration_s`."""
    words = field.replace("_", " ")
    return f"{words[:-2]} (s)" if words.endswith(" s") else words


def written(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# What to do, where the error's own sentence doesn't say it.
ADVICE = {
    "generation_failed": "Run it again. If it fails again, another model or a smaller request may "
    "do, and the operator's log says why it failed.",
    "deadline_exceeded": "The model was busy or the work too large. Run it again later, or ask for "
    "less.",
    "context_length_exceeded": "Shorten the conversation, or take a model with a longer context.",
    "cancelled": "Run it again if you want it after all.",
}
