"""How operators list and open the rows of a table: fast whatever its length, and read-only.

What may be changed is said by each admin that allows it; nothing is ever deleted here. The site
has asked already who it is: every operator may see everything.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from django.contrib.admin import ShowFacets
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.decorators import display

# The dash of a cell without a value.
NOTHING = "–"  # noqa: RUF001
# Rows that pages lead to: further back one gets by searching.
MOST = 1000


class Bounded(Paginator):  # type: ignore[type-arg]
    """Counts no further than MOST, so that no list costs more as its table grows."""

    @cached_property
    def count(self) -> int:
        rows = self.object_list
        assert isinstance(rows, QuerySet)
        return rows[:MOST].count()


class Listing(ModelAdmin):
    paginator = Bounded
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    list_per_page = 25
    list_fullwidth = True
    list_filter_sheet = False
    list_filter_submit = False
    # Sorting by whatever column would read the whole table.
    sortable_by: Sequence[str] = ()
    ordering: Sequence[str] = ("-id",)
    actions = None
    # What may be changed; all else is shown.
    changeable: tuple[str, ...] = ()
    # What `search` understands, for the search box; empty: there is none.
    searched_by = ""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return True

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(self.changeable)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_search_fields(self, request: HttpRequest) -> Sequence[str]:
        return ("id",) if self.searched_by else ()

    @property
    def search_help_text(self) -> str:
        return self.searched_by

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        text = search_term.strip()
        return (self.search(queryset, text) if text else queryset), False

    def search(self, rows: QuerySet[Any], text: str) -> QuerySet[Any]:
        """The rows that `text` names, found by an index."""
        raise NotImplementedError

    # The audit log is the only log: see modelpilot.accounts.audit.

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> None:
        pass

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> None:
        pass

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: Any = None
    ) -> HttpResponse:
        return redirect("admin:accounts_auditentry_changelist")


def link_to(row: Model | None, text: str | None = None) -> SafeString | str:
    """A row's page."""
    if row is None:
        return NOTHING
    name = f"admin:{row._meta.app_label}_{row._meta.model_name}_change"
    return format_html(
        '<a class="text-link" href="{}">{}</a>', reverse(name, args=[row.pk]), text or str(row)
    )


def list_of(model: type[Model], text: str, **query: object) -> SafeString:
    """The rows of a table that belong to something."""
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
    asked = "&".join(f"{key}={value}" for key, value in query.items())
    return format_html('<a class="text-link" href="{}?{}">{}</a>', reverse(name), asked, text)


def shown(title: str, **how: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A column, or a line of a page, with that title; see `unfold.decorators.display`."""
    decorate: Callable[[Callable[..., Any]], Callable[..., Any]] = display(description=title, **how)
    return decorate
