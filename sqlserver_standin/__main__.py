"""`python -m sqlserver_standin`: run the server until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import logging
import os
import resource
import shutil
import signal
import sys
import threading
from pathlib import Path

from sqlserver_standin.certificate import server_context
from sqlserver_standin.control import ControlServer
from sqlserver_standin.engine.instance import MOST_SESSIONS, Instance
from sqlserver_standin.engine.postgres import PostgresError
from sqlserver_standin.faults import Faults
from sqlserver_standin.journal import Journal
from sqlserver_standin.launcher import DEFAULT_PASSWORD, DEFAULT_USER
from sqlserver_standin.releases import DEFAULT_RELEASE, RELEASES
from sqlserver_standin.server import ListenError, Server, listen

OTHER_FILES = 100


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    stopped, stop = _stop_signals()
    try:
        # First of all: a taken port is known before a database is made.
        listener = listen(options.host, options.port)
    except ListenError as error:
        print(f"{error}. Choose another with --port; 0 takes any that is free.", file=sys.stderr)
        return 1

    try:
        instance = Instance(options.data, password=options.password, release=RELEASES[options.release])
    except PostgresError as error:
        print(error, file=sys.stderr)
        return 1
    try:
        instance.most_sessions = _most_sessions()
        journal = Journal.from_environment(controlled=options.control)
        faults = Faults()
        server = Server(instance, listener, tls=server_context(), faults=faults, journal=journal)
        server.start()
        host, port = options.host, server.port
        print(f"listening on {host}:{port}")
        print(f"connect with: SERVER={host},{port};UID={DEFAULT_USER};PWD={options.password};DATABASE=master")
        print("This is sqlserver_standin, a stand-in for tests and examples: it is not SQL Server.")
        if options.control:
            control = ControlServer(faults, journal)
            control.start()
            print(f"control on port {control.port}")
        sys.stdout.flush()
        if options.exit_with_parent:
            threading.Thread(target=_wait_for_parent, args=(stop,), daemon=True).start()
        os.read(stopped, 1)
        server.stop()
        journal.save()
    finally:
        instance.close()
        if options.remove_data:
            shutil.rmtree(options.data, ignore_errors=True)
    return 0


def _most_sessions() -> int:
    """As many as files may be open, of which each session takes two; the usual limit of 1,024 is a soft one."""
    wanted = 2 * MOST_SESSIONS + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return min(MOST_SESSIONS, (soft - OTHER_FILES) // 2)
    return MOST_SESSIONS


def _stop_signals() -> tuple[int, int]:
    """A pipe that gets a byte when the process shall stop: the end to read, the end to write.

    The kernel may give a signal to any thread, and Python's own handlers wait until the main thread runs. What writes
    to the pipe runs at once, in that thread.
    """
    stopped, stop = os.pipe()
    os.set_blocking(stop, False)
    signal.set_wakeup_fd(stop, warn_on_full_buffer=False)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    return stopped, stop


def _wait_for_parent(stop: int) -> None:
    """The parent holds the other end of stdin: the read ends when it closes it, or dies."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.write(stop, b"\0")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sqlserver_standin",
        description="A local stand-in for SQL Server, for tests and examples. It is not a production server.",
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="directory of the databases, made if missing"
    )
    parser.add_argument(
        "--remove-data", action="store_true", help="remove that directory at the end, with all that is in it"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: loopback only)")
    parser.add_argument("--port", type=int, default=1433, help="port to listen on; 0 takes any free one")
    parser.add_argument("--password", default=DEFAULT_PASSWORD, help=f"password of {DEFAULT_USER}")
    parser.add_argument(
        "--release",
        default=DEFAULT_RELEASE,
        choices=RELEASES,
        help=f"the SQL Server that it stands in for (default: {DEFAULT_RELEASE})",
    )
    parser.add_argument("--log-level", default="warning", choices=["debug", "info", "warning", "error"])
    parser.add_argument(
        "--control", action="store_true", help="open the control API for tests on a port of its own"
    )
    parser.add_argument(
        "--exit-with-parent",
        action="store_true",
        help="stop when standard input ends, as when the parent dies",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
