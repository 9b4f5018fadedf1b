"""`make demo`: the example site on the stand-in (or on MSSQL_HOST), with telemetry and the panel; `--check` visits it.

Everything runs in this process but the stand-in's server, which goes when this process goes.
"""

from __future__ import annotations

import argparse
import errno
import io
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIServer

from django.core.exceptions import ImproperlyConfigured
from django.core.servers.basehttp import WSGIRequestHandler
from django.db import Error as DatabaseError

from sqlserver_standin import StandIn
from sqlserver_standin.launcher import StandInError

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
ADMIN = ("admin", "admin")

PAGES = [
    ("/", "figures of the shop"),
    ("/orders/", "the order list with N+1 queries: open the toolbar's panel “SQL Server”"),
    ("/orders/mended/", "the same list, mended"),
    ("/products/?q=mug", "a search"),
    ("/reports/sales/", "aggregation over all order lines: look at its plan"),
    ("/checkout/", "a transaction"),
    ("/stock/", "make two transfers deadlock"),
    ("/traces/", "the spans that arrived over OTLP"),
    ("/admin/", f"Django's admin (user {ADMIN[0]}, password {ADMIN[1]})"),
]


class DemoError(Exception):
    """Something that the person at the console must mend; its text says what and how."""


@contextmanager
def database_server(state: Path) -> Iterator[str]:
    """Make MSSQL_* of the environment name a running server; yield what to call it."""
    if os.environ.get("MSSQL_HOST"):
        yield f"the server at {os.environ['MSSQL_HOST']}"
        return
    with StandIn(data=state / "standin") as server:
        os.environ.update(
            MSSQL_HOST=server.host,
            MSSQL_PORT=str(server.port),
            MSSQL_USER=server.user,
            MSSQL_PASSWORD=server.password,
        )
        note = state / "server.json"
        note.write_text(
            json.dumps(
                {
                    "HOST": server.host,
                    "PORT": str(server.port),
                    "USER": server.user,
                    "PASSWORD": server.password,
                }
            )
        )
        try:
            yield f"the SQL Server stand-in on port {server.port}"
        finally:
            note.unlink(missing_ok=True)


def receive_telemetry() -> None:
    """Point OTLP at a receiver of the example's own, unless OTEL_EXPORTER_OTLP_ENDPOINT says where it goes.

    The receiver's threads live as long as the process: what the exporters send at exit still arrives.
    """
    elsewhere = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if elsewhere:
        os.environ["DEMO_TELEMETRY_ELSEWHERE"] = elsewhere
        return
    from example_project.traces.receiver import Receiver
    from example_project.traces.store import store

    receiver = Receiver(store)
    receiver.start()
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = receiver.endpoint
    os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf"
    os.environ.setdefault("OTEL_METRIC_EXPORT_INTERVAL", "5000")  # a minute is long for somebody who looks on


def prepare_database() -> None:
    """Create the database where it is missing, migrate it, load the data, and make the admin's user."""
    import django
    from django.core.management import call_command

    from example_project.create_database import create_database

    django.setup()
    create_database()
    call_command("migrate", verbosity=0)
    call_command("load_shop")
    from django.contrib.auth import get_user_model

    users = get_user_model()
    if not users.objects.filter(username=ADMIN[0]).exists():
        users.objects.create_superuser(ADMIN[0], "admin@example.com", ADMIN[1])


class _Handler(WSGIRequestHandler):
    """Also gives the path as it was sent, as gunicorn and uWSGI do: the request's span takes `url.path` from it."""

    def get_environ(self) -> dict[str, Any]:
        return {**super().get_environ(), "REQUEST_URI": self.path}


class _Server(ThreadingMixIn, WSGIServer):
    """Serves each request in a thread of its own."""

    daemon_threads = True
    request_queue_size = 128


def site(port: int) -> _Server:
    """The site's HTTP server, listening. Raises DemoError when the port is taken."""
    from django.contrib.staticfiles.handlers import StaticFilesHandler

    try:
        server = _Server((HOST, port), _Handler, bind_and_activate=True)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise _taken(port) from None
    from example_project.config.wsgi import application

    server.set_app(StaticFilesHandler(application))
    return server


def _taken(port: int) -> DemoError:
    return DemoError(
        f"Port {port} on {HOST} is taken. Stop what listens there, or choose another: make demo PORT=8001"
    )


def _port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def main() -> int:
    """Run the demo; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m example_project.demo", description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="port of the site (default: %(default)s)")
    parser.add_argument("--check", action="store_true", help="visit each page, print what was seen, and stop")
    options = parser.parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that has no typographic quotes shows ?
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_project.config.settings")
    state = Path(os.environ.setdefault("DEMO_STATE_DIR", str(ROOT / "var")))
    state.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        if options.port and not _port_is_free(options.port):
            raise _taken(options.port)
        with ExitStack() as running:
            name = running.enter_context(database_server(state))
            print(f"Database: {name}.", flush=True)
            prepare_database()
            receive_telemetry()
            server = site(options.port)
            running.callback(server.server_close)
            address = f"http://{HOST}:{server.server_address[1]}"
            if options.check:
                from example_project.check import check

                threading.Thread(target=server.serve_forever, name="site", daemon=True).start()
                running.callback(server.shutdown)
                return check(address)
            print(f"\nThe shop is open at {address}/\n")
            for path, what in PAGES:
                print(f"  {address}{path:<22} {what}")
            print("\nCtrl-C stops everything.", flush=True)
            server.serve_forever()
    except KeyboardInterrupt:
        print("\nStopped.")
    except (DemoError, StandInError, ImproperlyConfigured, DatabaseError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
