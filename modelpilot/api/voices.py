"""Voices: those of the deployed models, and whether a request names one."""

from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from ninja import Router

from inference.catalog import Card
from inference.errors import InvalidRequest
from inference.sound import voices
from inference.types import Kind
from modelpilot.accounts.keys import Principal
from modelpilot.api.answers.account import Voice
from modelpilot.api.answers.shapes import ListOf
from modelpilot.api.auth import Key, principal_of
from modelpilot.api.ordering import deployed, find_card
from modelpilot.errors import ApiError
from modelpilot.fleet import deployments
from modelpilot.fleet.catalog import cards
from modelpilot.hop import hop

router = Router(tags=["Audio"])


@router.get("/voices", auth=Key("read"), summary="List voices", response=ListOf[Voice])
async def list_voices(request: HttpRequest, model: str | None = None) -> HttpResponseBase:
    """Every voice of the deployed speech models, or of one. One that is not `installed` is
    spoken by another, and the answer's warnings say by whom."""
    data = await hop(voices_of, principal_of(request), model)
    return JsonResponse({"object": "list", "data": data})


def voices_of(principal: Principal, model: str | None) -> list[dict[str, Any]]:
    if model is None:
        chosen = speaking(principal)
    else:
        chosen = [deployed(find_card(principal, model, Kind.AUDIO), model, Kind.AUDIO)[0]]
    return [
        {"id": voice.id, "model": card.id, **asdict(voice)}
        for card in chosen
        for voice in voices.listed(card, settings.MODELS, settings.CACHE)
    ]


def speaking(principal: Principal) -> list[Card]:
    """The deployed speech models that the caller may use."""
    catalog = cards().cards
    served = [serving.model for serving in deployments.all_serving() if serving.running]
    return [
        catalog[model]
        for model in served
        if model in catalog and catalog[model].kind is Kind.AUDIO and principal.may_use(model)
    ]


def check_voice(
    model: str, voice: str | None, speed: float, audio_prompt: str | None = None
) -> None:
    """ApiError 422 for a voice or a pace that the model's card does not have."""
    card = cards().find(model)
    if card is None or card.kind is not Kind.AUDIO:
        return
    try:
        voices.check(card, voice, speed, audio_prompt)
    except InvalidRequest as error:
        raise ApiError(422, error.code, error.message, param=error.param) from error
