"""What operators do to a row: a button on its page, and a dialog that asks first.

An act is written down where it is done (see `modelpilot.accounts.audit`); its errors are sentences
that the page then shows.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from unfold.decorators import action
from unfold.enums import ActionVariant
from unfold.forms import BaseDialogForm
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from billing.money import micros
from modelpilot.errors import ApiError

Act = Callable[..., Any]
When = Callable[[Any], bool]
DANGER = ActionVariant.DANGER
PLAIN = ActionVariant.DEFAULT
PRIMARY = ActionVariant.PRIMARY


def always(row: Any) -> bool:
    return True


class Refused(Exception):
    """It can't be done; the message says why."""


class Asked(BaseDialogForm):
    """Only the question."""


def text(label: str, **how: Any) -> forms.CharField:
    widget = UnfoldAdminTextInputWidget(attrs=how.pop("attrs", {}))
    return forms.CharField(label=label, widget=widget, **how)


def whole(label: str, **how: Any) -> forms.IntegerField:
    return forms.IntegerField(label=label, widget=UnfoldAdminIntegerFieldWidget(), **how)


def chosen(label: str, **how: Any) -> forms.ChoiceField:
    return forms.ChoiceField(label=label, widget=UnfoldAdminSelectWidget(), **how)


def moment(label: str, **how: Any) -> forms.DateTimeField:
    widget = UnfoldAdminTextInputWidget(attrs={"type": "datetime-local"})
    return forms.DateTimeField(label=label, widget=widget, **how)


def amount(label: str, **how: Any) -> forms.DecimalField:
    """In USD; `micro_dollars` of what was written is what the ledger takes."""
    return forms.DecimalField(
        label=label,
        min_value=Decimal("0.000001"),
        max_value=Decimal(1_000_000),
        decimal_places=6,
        widget=UnfoldAdminDecimalFieldWidget(),
        **how,
    )


def micro_dollars(form: forms.Form, name: str = "usd") -> int | None:
    written = form.cleaned_data[name]
    return None if written is None else micros(written)


class WithReason(BaseDialogForm):
    reason = text("Reason", max_length=200, help_text="For the record.")


def asks(
    label: str,
    question: str,
    form: type[BaseDialogForm] = Asked,
    *,
    icon: str | None = None,
    variant: ActionVariant = PLAIN,
    when: When = always,
) -> Callable[[Act], Any]:
    """Makes a method of a Listing a button, called `label`, whose dialog asks `question`.

    The method is given the row (none for a list's button) and the form, and returns the sentence
    that tells what was done, or an answer of its own. A row's page has the button only `when`
    there is something to do; the method checks by itself, since a row may have changed meanwhile.
    """

    def decorate(act: Act) -> Any:
        def run(
            self: Any, request: HttpRequest, form: forms.Form, object_id: str | None = None
        ) -> HttpResponse:
            about = [] if object_id is None else [self.get_object(request, object_id)]
            page = self.url_of(object_id)
            if None in about:
                messages.error(request, "It is not there any more.")
                return HttpResponse(headers={"HX-Redirect": self.url_of(None)})
            try:
                done = act(self, *about, form)
            except Refused as error:
                messages.error(request, str(error))
            except ApiError as error:
                messages.error(request, error.message)
            else:
                if isinstance(done, HttpResponse):
                    return done
                messages.success(request, done)
            return HttpResponse(headers={"HX-Redirect": page})

        run.__name__ = act.__name__
        run.when = when  # type: ignore[attr-defined]
        dialog = {
            "title": label,
            "description": question,
            "form_class": form,
            "form_submit_text": label,
        }
        return action(
            description=label,
            url_path=act.__name__.replace("_", "-"),
            dialog=dialog,
            icon=icon,
            variant=variant,
        )(run)

    return decorate


def shown_once(request: HttpRequest, secrets: list[str], page: str) -> HttpResponse:
    """Secrets in the dialog itself, kept nowhere, and the way back to `page`."""
    return render(request, "admin/shown_once.html", {"secrets": secrets, "page": page})


class Acting:
    """For a Listing with such buttons: where its pages are, and which buttons a row has."""

    def get_actions_detail(self, request: HttpRequest, object_id: int) -> list[Any]:
        row = self.get_object(request, str(object_id))  # type: ignore[attr-defined]
        offered = super().get_actions_detail(request, object_id)  # type: ignore[misc]
        return [each for each in offered if row is not None and each.method.when(row)]

    def url_of(self: Any, object_id: str | None) -> str:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}"
        if object_id is None:
            return reverse(f"{name}_changelist")
        return reverse(f"{name}_change", args=[object_id])
