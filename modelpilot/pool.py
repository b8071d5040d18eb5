"""This process's own connections to PostgreSQL: Django keeps several in a pool."""

from django.db import connections
from django.db.backends.postgresql.base import DatabaseWrapper


def leave() -> None:
    """Close them all; whoever asks next opens new ones."""
    for connection in connections.all(initialized_only=True):
        connection.close()
        if isinstance(connection, DatabaseWrapper):
            connection.close_pool()
