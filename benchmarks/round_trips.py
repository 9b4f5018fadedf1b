"""Messages to the server for each operation, mssql-django beside this backend: python benchmarks/round_trips.py"""

from __future__ import annotations

from side_by_side import Target, Worker, target

OPERATIONS = {
    "connect": 1,
    "get": 1,
    "create": 1,
    "update": 1,
    "atomic create": 3,
    "atomic in atomic: create": 4,
    "get_or_create, missing": 4,
    "bulk_create of 100": 3,
    "delete with one cascade": 4,
    "pk__in of 3,000": 1,
}
"""With the least that is possible."""


def count(worker: Worker, server: Target, name: str) -> int:
    """Messages of the operation's second run: the first may have things to find out."""
    assert server.standin is not None
    worker.ask(do="ready", name=name)
    worker.ask(do="go")
    worker.ask(do="ready", name=name)
    server.standin.control.messages(reset=True)
    worker.ask(do="go")
    return int(server.standin.control.messages(reset=True)["count"])


def main() -> None:
    with target() as server:
        if server.standin is None:
            raise SystemExit("Messages are counted by the stand-in: unset MSSQL_HOST.")
        counts: dict[str, dict[str, int]] = {}
        for backend in ("peer", "ours"):
            with Worker(backend, server) as worker:
                counts[backend] = {name: count(worker, server, name) for name in OPERATIONS}
    print(f"{'operation':28} {'mssql-django 2.0.0':>18} {'this backend':>13} {'least':>6}")
    for name, least in OPERATIONS.items():
        peer, ours = (counts[backend][name] for backend in ("peer", "ours"))
        print(f"{name:28} {peer:>18} {ours:>13} {least:>6}")


if __name__ == "__main__":
    main()
