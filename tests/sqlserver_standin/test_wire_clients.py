"""Clients that no one here wrote log in, and send and receive each data type."""

from __future__ import annotations

import datetime
import importlib.util
import json
import os
import shutil
import struct
import subprocess
import textwrap
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mssql.odbc import pyodbc
from tests.sqlserver_standin.wire_support import driver_path

if TYPE_CHECKING:
    from tests.conftest import Server

OFFSET = datetime.timezone(datetime.timedelta(hours=5, minutes=30))

VALUES: list[tuple[str, Any]] = [
    ("bit", True),
    ("tinyint", 255),
    ("smallint", -32768),
    ("int", -(2**31)),
    ("bigint", 2**63 - 1),
    ("float", -1.5e300),
    ("real", 0.25),
    ("decimal(38, 10)", Decimal("-1234567890123456789.0123456789")),
    ("money", Decimal("-922337203685477.5807")),
    ("smallmoney", Decimal("214748.3647")),
    ("date", datetime.date(1753, 1, 1)),  # FreeTDS and mssql-python send none before
    ("time(6)", datetime.time(23, 59, 59, 999999)),
    ("datetime2(6)", datetime.datetime(9999, 12, 31, 23, 59, 59, 999999)),
    ("datetime", datetime.datetime(1753, 1, 1, 23, 59, 59, 997000)),
    ("smalldatetime", datetime.datetime(2079, 6, 6, 23, 59)),
    ("datetimeoffset(6)", datetime.datetime(2024, 2, 29, 1, 2, 3, 456789, tzinfo=OFFSET)),
    ("char(5)", "ab   "),
    ("varchar(20)", "café €"),
    ("varchar(max)", "é" * 20_000),
    ("nchar(3)", "ü  "),
    ("nvarchar(20)", "größer 😀"),
    ("nvarchar(max)", "漢字" * 20_000),
    ("nvarchar(10)", ""),
    ("binary(3)", b"\x00\x01\xff"),
    ("varbinary(20)", b"\x00\xffabc"),
    ("varbinary(max)", bytes(range(256)) * 100),
    ("uniqueidentifier", uuid.UUID("12345678-9abc-def0-1234-56789abcdef0")),
    ("xml", "<a>ü</a>"),
]

# What pyodbc and FreeTDS' ODBC driver do to a parameter between them, before it is sent.
FREETDS_SENDS_LESS = {
    "datetime": "no fraction of a second",
    "datetime2(6)": "no fraction of a second",
    "varchar(max)": "4,000 characters",
    "nvarchar(max)": "4,000 characters",
    "varbinary(max)": "8,000 bytes",
}

Connect = Callable[["Server"], Any]


def _odbc(encrypt: str) -> Connect:
    def connect(server: Server) -> Any:
        text = f"Server={server.host},{server.port};UID={server.user};PWD={server.password};DATABASE=master"
        connection = pyodbc.connect(
            f"Driver={driver_path()};{text};Encrypt={encrypt};TrustServerCertificate=yes",
            autocommit=True,
            timeout=60,
        )
        connection.add_output_converter(-155, _datetimeoffset)
        return connection

    return connect


def _freetds_odbc(server: Server) -> Any:
    driver = next(Path("/usr/lib").glob("*/odbc/libtdsodbc.so"), None)
    if driver is None:
        pytest.skip("FreeTDS' ODBC driver is not installed (apt-get install tdsodbc)")
    text = f"Server={server.host};Port={server.port};UID={server.user};PWD={server.password};Database=master"
    connection = pyodbc.connect(
        f"Driver={driver};{text};TDS_Version=7.4;ClientCharset=UTF-8", autocommit=True, timeout=60
    )
    connection.add_output_converter(-155, _datetimeoffset)
    return connection


def _python_tds(server: Server) -> Any:
    pytds = pytest.importorskip("pytds")
    return pytds.connect(
        dsn=server.host,
        port=int(server.port),
        user=server.user,
        password=server.password,
        database="master",
        autocommit=True,
        login_timeout=60,
    )


def _mssql_python(server: Server) -> Any:
    mssql_python = pytest.importorskip("mssql_python")
    text = f"SERVER={server.host},{server.port};UID={server.user};PWD={server.password};DATABASE=master"
    return mssql_python.connect(f"{text};Encrypt=yes;TrustServerCertificate=yes;", autocommit=True)


def _datetimeoffset(raw: bytes) -> datetime.datetime:
    """SQL_SS_TIMESTAMPOFFSET_STRUCT."""
    year, month, day, hour, minute, second, nanosecond, hours, minutes = struct.unpack("<6hI2h", raw)
    zone = datetime.timezone(datetime.timedelta(hours=hours, minutes=minutes))
    return datetime.datetime(year, month, day, hour, minute, second, nanosecond // 1000, tzinfo=zone)


CONNECTS: dict[str, Connect] = {
    "odbc": _odbc("no"),
    "odbc, encrypted": _odbc("yes"),
    "freetds odbc": _freetds_odbc,
    "python-tds": _python_tds,
    "mssql-python": _mssql_python,
}


@pytest.fixture(scope="module", params=list(CONNECTS))
def client(request: pytest.FixtureRequest, server: Server) -> Iterator[tuple[str, Any]]:
    connection = CONNECTS[request.param](server)
    yield request.param, connection
    connection.close()


def round_trip(client: tuple[str, Any], sql_type: str, value: Any) -> Any:
    name, connection = client
    marker = "?"
    if name == "python-tds":
        import pytds

        marker = "%s"
        value = pytds.Binary(value) if isinstance(value, bytes) else value
    elif isinstance(value, datetime.datetime) and value.tzinfo is not None and "odbc" in name:
        value = value.isoformat(" ")  # pyodbc sends a datetime without its zone,
    elif isinstance(value, datetime.time) and "odbc" in name:
        value = value.isoformat()  # and a time without its fraction.
    cursor = connection.cursor()
    cursor.execute(f"SELECT CAST({marker} AS {sql_type}) AS value", (value,))
    (row,) = cursor.fetchall()
    cursor.close()
    return row[0]


@pytest.mark.parametrize(("sql_type", "value"), VALUES, ids=[name for name, _ in VALUES])
def test_each_type_goes_there_and_back(client: tuple[str, Any], sql_type: str, value: Any) -> None:
    if client[0] == "freetds odbc" and sql_type in FREETDS_SENDS_LESS:
        pytest.skip(f"FreeTDS sends {FREETDS_SENDS_LESS[sql_type]} as a parameter")
    answer = round_trip(client, sql_type, value)
    if isinstance(value, uuid.UUID):
        answer = uuid.UUID(str(answer))
    if isinstance(answer, datetime.datetime) and isinstance(value, datetime.datetime) and value.tzinfo:
        assert answer.utcoffset() == value.utcoffset()
    assert answer == value


@pytest.mark.parametrize("sql_type", [name for name, _ in VALUES])
def test_each_type_knows_null(client: tuple[str, Any], sql_type: str) -> None:
    _, connection = client
    cursor = connection.cursor()
    cursor.execute(f"SELECT CAST(NULL AS {sql_type}) AS value")
    assert cursor.fetchall()[0][0] is None
    cursor.close()


def test_a_long_text_arrives_whole(client: tuple[str, Any]) -> None:
    _, connection = client
    cursor = connection.cursor()
    cursor.execute("SELECT REPLICATE(CAST(N'漢字' AS nvarchar(max)), 15000) AS value")
    assert cursor.fetchall()[0][0] == "漢字" * 15_000
    cursor.close()


def test_errors_carry_the_servers_text(client: tuple[str, Any]) -> None:
    _, connection = client
    cursor = connection.cursor()
    with pytest.raises(Exception, match="Invalid object name 'nowhere'"):
        cursor.execute("SELECT * FROM nowhere")
    cursor = connection.cursor()
    cursor.execute("SELECT 1")
    assert cursor.fetchall()[0][0] == 1


def test_several_result_sets_arrive(client: tuple[str, Any]) -> None:
    _, connection = client
    cursor = connection.cursor()
    cursor.execute("SELECT 1 AS a; SELECT 'x' AS b, 2 AS c;")
    assert cursor.fetchall()[0][0] == 1
    assert cursor.nextset()
    assert list(cursor.fetchall()[0]) == ["x", 2]


def test_output_parameters_and_return_values_arrive(server: Server) -> None:
    pytds = pytest.importorskip("pytds")
    connection = _python_tds(server)
    cursor = connection.cursor()
    cursor.execute(
        "CREATE OR ALTER PROCEDURE wire_add @a int, @b int, @c int OUTPUT AS "
        "BEGIN SET NOCOUNT ON; SET @c = @a + @b; SELECT @c AS total; RETURN 7 END"
    )
    cursor.callproc("wire_add", (3, 4, pytds.output(value=0)))
    assert cursor.fetchall() == [(7,)]
    while cursor.nextset():
        pass
    assert cursor.get_proc_return_status() == 7
    cursor.execute("DROP PROCEDURE wire_add")
    connection.close()


def test_mars_reads_and_writes_within_one_transaction(server: Server) -> None:
    text = f"Server={server.host},{server.port};UID={server.user};PWD={server.password};DATABASE=master"
    connection = pyodbc.connect(
        f"Driver={driver_path()};{text};Encrypt=no;MARS_Connection=yes", autocommit=False, timeout=60
    )
    reader, writer = connection.cursor(), connection.cursor()
    writer.execute("CREATE TABLE wire_mars (id int PRIMARY KEY, doubled int NULL)")
    writer.execute("INSERT INTO wire_mars (id) SELECT value FROM GENERATE_SERIES(1, 3000)")
    reader.execute("SELECT id FROM wire_mars ORDER BY id")
    for _ in range(100):
        (number,) = reader.fetchone()
        writer.execute("UPDATE wire_mars SET doubled = ? WHERE id = ?", number * 2, number)
    assert len(reader.fetchall()) == 2900
    assert tuple(
        writer.execute("SELECT COUNT(*), SUM(doubled) FROM wire_mars WHERE doubled > 0").fetchone()
    ) == (100, 10100)
    connection.rollback()
    assert writer.execute("SELECT OBJECT_ID(N'wire_mars')").fetchone()[0] is None
    connection.close()


@pytest.mark.parametrize(
    "first", ["PRINT 'said'", "USE tempdb", "RAISERROR('said', 10, 1)", "SET NOCOUNT ON"]
)
def test_an_error_after_a_message_is_the_next_statements(server: Server, first: str) -> None:
    connection = _odbc("no")(server)
    cursor = connection.cursor()
    if first.startswith("SET"):
        with pytest.raises(Exception, match="Invalid object name 'nowhere'"):
            cursor.execute(f"{first}; SELECT * FROM nowhere")
    else:
        # As with SQL Server: the driver answers with the message, and with the error when more results are asked for.
        cursor.execute(f"{first}; SELECT * FROM nowhere")
        assert cursor.messages
        with pytest.raises(Exception, match="Invalid object name 'nowhere'"):
            cursor.nextset()
    connection.close()


def test_arrays_of_parameters_are_inserted(server: Server) -> None:
    connection = _odbc("no")(server)
    connection.execute("CREATE TABLE #array (number int NOT NULL, name nvarchar(20))")
    cursor = connection.cursor()
    cursor.fast_executemany = True
    cursor.executemany(
        "INSERT INTO #array (number, name) VALUES (?, ?)", [(number, f"n{number}") for number in range(500)]
    )
    assert tuple(connection.execute("SELECT COUNT(*), MAX(number) FROM #array").fetchone()) == (500, 499)
    connection.close()


def test_freetds_tsql_logs_in_and_selects(server: Server) -> None:
    if shutil.which("tsql") is None:
        pytest.skip("FreeTDS is not installed (apt-get install freetds-bin)")
    command = ["tsql", "-H", server.host, "-p", server.port, "-U", server.user, "-P", server.password]
    answer = subprocess.run(
        command,
        input="SELECT N'grün' AS word, 1.50 AS price\ngo\nSELECT * FROM nowhere\ngo\nexit\n",
        capture_output=True,
        encoding="utf-8",
        timeout=100,
        env={**os.environ, "TDSVER": "7.4", "LC_ALL": "C.UTF-8"},
        check=True,
    )
    assert "grün\t1.50" in answer.stdout
    assert "Msg 208 (severity 16, state 1)" in answer.stderr


TEDIOUS_START = """
const { Connection, Request, TYPES } = require('tedious');
const settings = JSON.parse(process.argv[2]);
const connection = new Connection({
  server: settings.host,
  authentication: { type: 'default', options: { userName: settings.user, password: settings.password } },
  options: {
    port: settings.port, encrypt: settings.encrypt, trustServerCertificate: true, database: 'master',
    connectTimeout: 120000, requestTimeout: 120000, cancelTimeout: 120000,
  },
});
const run = (sql, parameters, rows) => new Promise((resolve, reject) => {
  const request = new Request(sql, error => error ? reject(error) : resolve());
  for (const [name, type, value, options] of parameters) request.addParameter(name, type, value, options);
  request.on('row', columns => rows.push(columns.map(column => column.value)));
  connection.execSql(request);
});
"""

TEDIOUS = """
const answer = {};
connection.connect(async error => {
  if (error) { console.error(error.message); process.exit(1); }
  const rows = [];
  await run('SELECT @a, @b, @c, @d, @e, @f, @g, @h, @i', [
    ['a', TYPES.Int, -5], ['b', TYPES.NVarChar, 'grün'], ['c', TYPES.VarBinary, Buffer.from('ab')],
    ['d', TYPES.Decimal, 1.25, { precision: 9, scale: 2 }], ['e', TYPES.Bit, true],
    ['f', TYPES.UniqueIdentifier, '12345678-9ABC-DEF0-1234-56789ABCDEF0'],
    ['g', TYPES.NVarChar, 'x'.repeat(9000)], ['h', TYPES.DateTime2, new Date('2024-02-29T01:02:03.004Z')],
    ['i', TYPES.Float, null],
  ], rows);
  answer.row = rows[0];
  answer.row[2] = answer.row[2].toString();
  answer.error = await run('SELECT 1/0', [], []).catch(error => error.number);
  answer.cancelled = await new Promise(resolve => {
    connection.execSqlBatch(new Request("WAITFOR DELAY '00:00:30'", error => resolve(error && error.code)));
    setTimeout(() => connection.cancel(), 300);
  });
  await new Promise((resolve, reject) => connection.beginTransaction(e => e ? reject(e) : resolve()));
  await new Promise((resolve, reject) => connection.rollbackTransaction(e => e ? reject(e) : resolve()));
  const prepared = new Request('SELECT @x + 1', () => { connection.close(); console.log(JSON.stringify(answer)); });
  prepared.addParameter('x', TYPES.Int);
  prepared.on('row', columns => { answer.prepared = columns[0].value; });
  prepared.on('prepared', () => connection.execute(prepared, { x: 4 }));
  connection.prepare(prepared);
});
"""


# Each is sent as a parameter of that type and comes back as a column of it: (type, value, options, and what comes back
# where it is something else). JavaScript's dates have milliseconds.
TEDIOUS_TYPES = """
const day = new Date('2024-02-29T00:00:00.000Z'), moment = new Date('2024-02-29T01:02:03.004Z');
const time = new Date('1970-01-01T23:59:59.004Z'), minute = new Date('2024-02-29T01:02:00.000Z');
const bytes = Buffer.from([0, 1, 255]);
const values = [
  [TYPES.Bit, true], [TYPES.TinyInt, 255], [TYPES.SmallInt, -32768], [TYPES.Int, -2147483648],
  [TYPES.BigInt, '9223372036854775807'], [TYPES.Float, -1.5e300], [TYPES.Real, 0.25],
  [TYPES.Decimal, -12345.125, { precision: 20, scale: 3 }], [TYPES.Numeric, 0.5, { precision: 5, scale: 1 }],
  [TYPES.Money, -12345.6789], [TYPES.SmallMoney, 214748.3647], [TYPES.Date, day], [TYPES.Time, time, { scale: 3 }],
  [TYPES.DateTime, moment, , new Date('2024-02-29T01:02:03.003Z')], [TYPES.DateTime2, moment, { scale: 6 }],
  [TYPES.SmallDateTime, minute], [TYPES.DateTimeOffset, moment, { scale: 6 }],
  [TYPES.Char, 'ab', { length: 4 }, 'ab  '], [TYPES.VarChar, 'café €'], [TYPES.VarChar, 'é'.repeat(20000)],
  [TYPES.NChar, 'ü', { length: 3 }, 'ü  '], [TYPES.NVarChar, 'größer 😀'], [TYPES.NVarChar, ''],
  [TYPES.NVarChar, '漢字'.repeat(20000)], [TYPES.Binary, bytes, { length: 3 }], [TYPES.VarBinary, bytes],
  [TYPES.VarBinary, Buffer.alloc(20000, 7)], [TYPES.UniqueIdentifier, '12345678-9ABC-DEF0-1234-56789ABCDEF0'],
];
const { isDeepStrictEqual } = require('util');
connection.connect(async error => {
  if (error) { console.error(error.message); process.exit(1); }
  const answer = [];
  for (const [type, value, options, other] of values) {
    for (const sent of [value, null]) {
      const rows = [];
      await run('SELECT @v AS v', [['v', type, sent, options]], rows).catch(error => rows.push([error.message]));
      const expected = sent === null ? null : other === undefined ? value : other;
      // A Date of tedious has the digits below the millisecond as a property of its own.
      const got = rows[0][0] instanceof Date ? new Date(+rows[0][0]) : rows[0][0];
      const shown = [type.name, String(got).slice(0, 80), String(expected).slice(0, 80)];
      if (!isDeepStrictEqual(got, expected)) answer.push(shown);
    }
  }
  const rows = [];
  await run("SELECT CAST('<a>ü</a>' AS xml), CAST('x' AS sql_variant)", [], rows);
  if (!isDeepStrictEqual(rows[0], ['<a>ü</a>', 'x'])) answer.push(['xml and sql_variant', JSON.stringify(rows[0])]);
  connection.close();
  console.log(JSON.stringify(answer));
});
"""


def _tedious(server: Server, tmp_path: Path, script: str, *, encrypt: bool) -> Any:
    """What a program of Node's driver prints; it is looked for where `.ci/run` installs it, and globally."""
    node = shutil.which("node")
    modules = [
        str(Path(__file__).parents[2] / "var" / "node" / "node_modules"),
        os.environ.get("NODE_PATH", ""),
    ]
    environment = {**os.environ, "NODE_PATH": os.pathsep.join(filter(None, modules))}
    if (
        node is None
        or subprocess.run([node, "-e", "require('tedious')"], capture_output=True, env=environment).returncode
    ):
        pytest.skip("tedious is not installed (npm install --prefix var/node tedious)")
    path = tmp_path / "client.js"
    path.write_text(textwrap.dedent(TEDIOUS_START + script), encoding="utf-8")
    settings = {
        "host": server.host,
        "port": int(server.port),
        "user": server.user,
        "password": server.password,
        "encrypt": encrypt,
    }
    command = [node, str(path), json.dumps(settings)]
    result = subprocess.run(
        command, capture_output=True, encoding="utf-8", timeout=300, check=True, env=environment
    )
    return json.loads(result.stdout)


def test_tedious_sends_and_gets_each_type_and_its_null(server: Server, tmp_path: Path) -> None:
    assert _tedious(server, tmp_path, TEDIOUS_TYPES, encrypt=True) == []


@pytest.mark.parametrize("encrypt", [True, False])
def test_tedious_sends_cancels_prepares_and_rolls_back(server: Server, tmp_path: Path, encrypt: bool) -> None:
    answer = _tedious(server, tmp_path, TEDIOUS, encrypt=encrypt)
    assert answer == {
        "row": [
            -5,
            "grün",
            "ab",
            1.25,
            True,
            "12345678-9ABC-DEF0-1234-56789ABCDEF0",
            "x" * 9000,
            "2024-02-29T01:02:03.004Z",
            None,
        ],
        "error": 8134,
        "cancelled": "ECANCEL",
        "prepared": 5,
    }


def test_the_clients_that_ci_installs_are_there() -> None:
    """A skip above is fine on a developer's machine only for what is not a Python package."""
    assert importlib.util.find_spec("pytds")
    assert importlib.util.find_spec("mssql_python")
