"""The API guide, with the reader's own key and the models that are served here."""

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from modelpilot.accounts.keys import PREFIX
from modelpilot.accounts.models import ApiKey, User
from modelpilot.dashboard import guide
from modelpilot.dashboard.samples import API, usual_models


def docs(request: HttpRequest, name: str = guide.FIRST) -> HttpResponse:
    try:
        page = guide.page(name)
    except KeyError:
        raise Http404 from None
    pages = [each for _, group in guide.contents() for each in group]
    place = pages.index(page)
    context = {
        "contents": guide.contents(),
        "page": page,
        "body": page.shown(words(request)),
        "before": pages[place - 1] if place else None,
        "after": pages[place + 1] if place + 1 < len(pages) else None,
    }
    return render(request, "docs.html", context)


def words(request: HttpRequest) -> dict[str, str]:
    """What samples say to this reader: see `guide.WORDS`."""
    models = {f"{kind.upper()}_MODEL": model for kind, model in usual_models().items()}
    return {"API_URL": API, "YOUR_KEY": key_of(request), **models}


def key_of(request: HttpRequest) -> str:
    """The reader's newest key as far as we know it; nobody's where there is none."""
    user = request.user
    if not isinstance(user, User):
        return f"{PREFIX}YOUR_KEY"
    newest = ApiKey.objects.filter(user=user, revoked_at=None).order_by("-id").first()
    return f"{PREFIX}…{newest.last_four}" if newest else f"{PREFIX}YOUR_KEY"
