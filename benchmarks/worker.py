"""One backend's side of a comparison; benchmarks/side_by_side.py starts it and sends it the names of operations."""

from __future__ import annotations

import datetime
import gc
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import django
from django.conf import settings

BACKEND = os.environ["BACKEND"]
NAME = f"benchmark_{BACKEND}"
SQLITE: dict[str, Any] = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}


def database() -> dict[str, Any]:
    if BACKEND == "sqlite":
        return SQLITE
    options: dict[str, Any] = {"extra_params": "Encrypt=yes;TrustServerCertificate=yes"}
    if BACKEND == "peer":
        options["return_rows_bulk_insert"] = True
    return {
        "ENGINE": "mssql",
        "NAME": NAME,
        "HOST": os.environ["MSSQL_HOST"],
        "PORT": os.environ["MSSQL_PORT"],
        "USER": os.environ["MSSQL_USER"],
        "PASSWORD": os.environ["MSSQL_PASSWORD"],
        "OPTIONS": options,
    }


settings.configure(
    INSTALLED_APPS=["shelf"],
    DATABASES={"default": database()},
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()

from django.db import connection, connections, transaction  # noqa: E402
from django.db.backends.sqlite3.base import DatabaseWrapper as SQLite  # noqa: E402
from shelf.models import Author, Book, Row  # noqa: E402


def prepare() -> None:
    """A fresh set of tables with 100 authors of three books each."""
    if connection.vendor != "sqlite":
        with connection._nodb_cursor() as cursor:
            cursor.execute(f"IF DB_ID('{NAME}') IS NULL CREATE DATABASE [{NAME}]")
    existing = connection.introspection.table_names()
    with connection.schema_editor() as editor:
        for model in (Row, Book, Author):
            if model._meta.db_table in existing:
                editor.delete_model(model)
        for model in (Author, Book, Row):
            editor.create_model(model)
    for number in range(100):
        author = Author.objects.create(name=f"author {number}", note="n" * 50)
        for title in range(3):
            Book.objects.create(author=author, title=f"book {title}", price="9.99")


def reconnect() -> None:
    connection.close()
    connection.ensure_connection()


def a_block(depth: int) -> None:
    if depth:
        with transaction.atomic():
            a_block(depth - 1)
    else:
        Author.objects.create(name="new")


def save() -> None:
    author = first()
    author.name = "changed"
    author.save()


_first: Author | None = None


def first() -> Author:
    """An author with books, known without asking."""
    global _first
    if _first is None:
        _first = Author.objects.earliest("pk")
    return _first


_count = 0


def unique() -> str:
    global _count
    _count += 1
    return f"{os.getpid()} {_count}"


def delete() -> Callable[[], Any]:
    author = Author.objects.create(name="short-lived")
    Book.objects.create(author=author, title="t")
    return author.delete


def rows(count: int) -> list[Row]:
    return [
        Row(
            name=f"name {number}",
            text="t" * (number % 50),
            number=number,
            price=f"{number % 1000}.50",
            day=datetime.date(2024, 1, 1 + number % 28),
            flag=number % 2 == 0,
        )
        for number in range(count)
    ]


def many_rows() -> Callable[[], Any]:
    objects = rows(10_000)
    return lambda: Row.objects.bulk_create(objects)


# What each operation does beforehand, unmeasured, is done by the function that returns it.
OPERATIONS: dict[str, Callable[[], Callable[[], Any]]] = {
    "connect": lambda: reconnect,
    "get": lambda: lambda: Author.objects.get(pk=first().pk),
    "create": lambda: lambda: Author.objects.create(name="new", note="n" * 50),
    "update": lambda: save,
    "list of 100": lambda: lambda: list(Author.objects.filter(pk__gt=0)[:100]),
    "atomic create": lambda: lambda: a_block(1),
    "atomic in atomic: create": lambda: lambda: a_block(2),
    "prefetch": lambda: lambda: list(Author.objects.filter(pk__gt=0).prefetch_related("books")[:100]),
    "get_or_create, missing": lambda: lambda: Author.objects.get_or_create(name=unique()),
    "bulk_create of 100": lambda: lambda: Author.objects.bulk_create([Author(name="b") for _ in range(100)]),
    "delete with one cascade": delete,
    "pk__in of 3,000": lambda: lambda: list(Author.objects.filter(pk__in=list(range(3000)))),
    "bulk_create of 10,000 x 6": many_rows,
}


_waiting: Callable[[], Any]


def ready(name: str) -> str:
    """Prepare an operation, for `go`."""
    global _waiting
    _waiting = OPERATIONS[name]()
    return name


def go() -> None:
    _waiting()


def counted(name: str) -> int:
    """How many statements an operation sends, other than those that begin and end transactions."""
    operation, statements = OPERATIONS[name](), 0

    def count(execute: Callable[..., Any], *arguments: Any) -> Any:
        nonlocal statements
        statements += 1
        return execute(*arguments)

    with connection.execute_wrapper(count):
        operation()
    return statements


def timed(name: str, repeat: int) -> dict[str, float]:
    """Microseconds of CPU (of this process) and of wall time for one call."""
    operations = [OPERATIONS[name]() for _ in range(repeat)]
    return _measured(operations)


def _measured(operations: list[Callable[[], Any]]) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    for operation in operations:
        operation()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"cpu": cpu / len(operations) * 1e6, "wall": wall / len(operations) * 1e6}


def raw(name: str, repeat: int) -> dict[str, float]:
    """The statements of an operation, as they went to the driver, on kept pyodbc cursors without any ORM."""
    return _measured([statements_of(name)] * repeat)


def statements_of(name: str) -> Callable[[], None]:
    """Run an operation, and return what sends its statements again."""
    from mssql.parameters import template

    statements: list[tuple[str, Any]] = []

    def record(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        statements.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(record):
        OPERATIONS[name]()()
    bound: list[tuple[str, Any, Any]] = []
    for sql, params in statements:
        if params is None:
            bound.append((sql, None, None))
        else:
            bound.append((template(sql).sql, *template(sql).bind(params)))
    if name.startswith("atomic"):
        bound = [("BEGIN TRANSACTION", None, None), *bound, ("COMMIT TRANSACTION", None, None)]
    driver = connection.connection.driver
    with_parameters, without = driver.cursor(), driver.cursor()

    def run() -> None:
        for sql, values, declarations in bound:
            if values:
                with_parameters.setinputsizes(declarations)
                cursor = with_parameters.execute(sql, values)
            else:
                cursor = without.execute(sql)
            if cursor.description:
                cursor.fetchall()
            while cursor.nextset():
                if cursor.description:
                    cursor.fetchall()

    return run


_statements: dict[str, Callable[[], None]] = {}


def keep_statements(names: list[str]) -> None:
    """Learn the statements of operations, then go on with SQLite as the default database, for `in_turn`."""
    global _first
    _statements.update({name: statements_of(name) for name in names})
    connections["default"] = SQLite(connection.settings_dict | SQLITE | {"OPTIONS": {}}, "default")
    _first = None
    prepare()


def in_turn(name: str, repeat: int) -> dict[str, float]:
    """Both floors in one process: an operation on SQLite, then its statements on pyodbc."""
    operation, statements = OPERATIONS[name](), _statements[name]

    def both() -> None:
        operation()
        statements()

    return _measured([both] * repeat)


ACTIONS: dict[str, Callable[..., Any]] = {
    "collect": gc.collect,
    "ready": ready,
    "go": go,
    "counted": counted,
    "timed": timed,
    "raw": raw,
    "keep_statements": keep_statements,
    "in_turn": in_turn,
}


def main() -> None:
    prepare()
    first()
    for line in sys.stdin:
        request = json.loads(line)
        action = ACTIONS[request.pop("do")]
        print(json.dumps(action(**request)), flush=True)
    connection.close()


if __name__ == "__main__":
    main()
