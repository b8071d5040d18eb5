"""Pages without a server: Django's own client, in a transaction that is rolled back."""

from collections.abc import Callable

import pytest
from django.core.cache import cache
from django.test import Client
from pytest_django import Settings

from modelpilot.accounts.models import User

SignedIn = Callable[[User], Client]


@pytest.fixture
def visitor(books: None, settings: Settings) -> Client:
    """Somebody who is not signed in, and whose tries nobody has counted."""
    cache.clear()
    # Slow on purpose, the real one: half a second for each password.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    return Client()


@pytest.fixture
def signed_in(visitor: Client) -> SignedIn:
    def sign_in(user: User) -> Client:
        client = Client()
        client.force_login(user, "django.contrib.auth.backends.ModelBackend")
        return client

    return sign_in
