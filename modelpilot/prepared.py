"""The few statements that every request runs, as server-side prepared ones.

Django interpolates parameters in the client, so PostgreSQL parses and plans each text
anew. Measured on the embedded server: prepared, a submit takes 0.53 ms instead of 0.75, a
claim 0.15 instead of 0.35, a finish 0.23 instead of 0.57, and 40 % more requests go
through. The price is that each parameter needs its type in the statement.
"""

from typing import Any

import psycopg
from django.db import connection


def run(statement: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Execute a constant statement; its rows, if it returns any.

    On Django's connection and in its transaction; errors are Django's. `statement` is
    prepared once for each connection.
    """
    connection.ensure_connection()
    raw: Any = connection.connection
    with connection.wrap_database_errors, psycopg.Cursor(raw) as cursor:
        cursor.execute(statement, parameters, prepare=True)
        return cursor.fetchall() if cursor.description else []
