"""The catalog that this process works with, read once."""

from functools import cache

from django.conf import settings

from inference import catalog
from inference.catalog import Catalog


@cache
def cards() -> Catalog:
    """Our cards and the operator's; raises `inference.errors.CatalogError` naming the mistake."""
    return catalog.load(settings.CATALOGS)
