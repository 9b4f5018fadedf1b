"""From the first packet to an open session: PRELOGIN, TLS, LOGIN7, and the server's answer to it."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlserver_standin.errors import NOT_SUPPORTED, sql_error, text, unsupported
from sqlserver_standin.events import EnvironmentChange, Message, SqlError
from sqlserver_standin.procedures import Procedures
from sqlserver_standin.response import Response
from sqlserver_standin.tds import tokens
from sqlserver_standin.tds.login import (
    Encryption,
    Feature,
    Login,
    build_prelogin,
    parse_login,
    parse_prelogin,
)
from sqlserver_standin.tds.packets import (
    DEFAULT_PACKET_SIZE,
    MAXIMUM_PACKET_SIZE,
    MINIMUM_PACKET_SIZE,
    PacketType,
    ProtocolError,
    frame,
)
from sqlserver_standin.tds.tokens import DoneStatus, Token
from sqlserver_standin.transport import Transport
from sqlserver_standin.types import DEFAULT_COLLATION

if TYPE_CHECKING:
    from sqlserver_standin.engine.session import Session
    from sqlserver_standin.server import Server

logger = logging.getLogger("sqlserver_standin")

_TIMEOUT = 30.0
_MESSAGE_LIMIT = 128 * 1024
_TLS_PACKET_SIZE = 16383
"""A packet under TLS must fit one TLS record."""

_TDS_7_3 = 0x730A0003


@dataclass(frozen=True, slots=True)
class Admission:
    """A client that has logged in."""

    session: Session
    packet_size: int
    application: str
    process: int
    """The client's, as it says."""
    mars: bool
    procedures: Procedures
    execution: threading.Lock
    """Held while a request is executed: with MARS, several dialogues share the session."""


class Handshake:
    """Lets one client in, or not."""

    def __init__(self, server: Server, transport: Transport, client_address: str) -> None:
        self._server = server
        self._transport = transport
        self._client_address = client_address

    def run(self) -> Admission | None:
        """None when the login was refused; the client has been told why."""
        self._transport.socket.settimeout(_TIMEOUT)
        prelogin = parse_prelogin(self._read(PacketType.PRELOGIN))
        encryption = self._agree(prelogin.encryption)
        version = self._server.instance.release.numbers
        answer, _ = frame(
            PacketType.TABULAR_RESULT,
            build_prelogin(version, encryption, mars=prelogin.mars),
            DEFAULT_PACKET_SIZE,
        )
        self._transport.send(answer)
        if encryption is not Encryption.NOT_SUPPORTED:
            assert self._server.tls is not None
            self._transport.start_tls(self._server.tls, DEFAULT_PACKET_SIZE)
        login = parse_login(self._read(PacketType.LOGIN7))
        if encryption is Encryption.OFF:
            self._transport.stop_tls()
        try:
            session = self._open_session(login)
        except SqlError as refusal:
            self._refuse(login, refusal)
            return None
        try:
            packet_size = self._admit(login, session, encrypted=encryption is Encryption.ON)
        except BaseException:
            session.close()  # The client has not waited for it.
            raise
        self._transport.socket.settimeout(None)
        return Admission(
            session,
            packet_size,
            login.application_name,
            login.client_pid,
            prelogin.mars,
            Procedures(session),
            threading.Lock(),
        )

    def _read(self, expected: PacketType) -> bytes:
        kind, _, data = self._transport.read_message(_MESSAGE_LIMIT)
        if kind != expected:
            raise ProtocolError(f"a packet of type {kind} instead of {expected.name}")
        return data

    def _agree(self, asked: Encryption) -> Encryption:
        """As much encryption as the client wants, as SQL Server does when it forces none."""
        if asked is Encryption.NOT_SUPPORTED or self._server.tls is None:
            return Encryption.NOT_SUPPORTED
        return Encryption.OFF if asked is Encryption.OFF else Encryption.ON

    def _open_session(self, login: Login) -> Session:
        """Open the engine's session; a SqlError says why not."""
        if login.tds_version < _TDS_7_3:
            raise unsupported(f"TDS version 0x{login.tds_version:08X}; the stand-in speaks 7.3 and 7.4")
        if Feature.FEDERATED_AUTHENTICATION in login.features:
            raise unsupported("Microsoft Entra authentication")
        if login.integrated_security:
            raise unsupported("Windows authentication")
        if login.change_password:
            raise unsupported("changing the password at login")
        if self._server.faults.armed and (fault := self._server.faults.take_login()) is not None:
            time.sleep(fault.seconds)
            if (error := fault.error()) is not None:
                raise error
        try:
            return self._server.instance.login(
                user=login.user_name,
                password=login.password,
                database=login.database,
                host_name=login.host_name,
                application_name=login.application_name,
                client_pid=login.client_pid,
                client_library=login.client_library,
                client_address=self._client_address,
                language=login.language,
            )
        except SqlError:
            raise
        except Exception as error:
            logger.exception("the stand-in failed on a login from %s", self._client_address)
            raise SqlError(NOT_SUPPORTED, f"the stand-in failed: {error}", severity=20) from error

    def _response(self, spid: int = 0) -> Response:
        return Response(
            self._transport,
            packet_size=DEFAULT_PACKET_SIZE,  # the negotiated size holds from the next message on
            spid=spid,
            server_name=self._server.instance.server_name,
        )

    def _refuse(self, login: Login, refusal: SqlError) -> None:
        logger.info(
            "login of %r from %s refused: %s %s",
            login.user_name,
            self._client_address,
            refusal.number,
            refusal.text,
        )
        response = self._response()
        response.error(refusal)
        if refusal.number == 4060:
            response.error(sql_error(18456, login.user_name))
        response.done(Token.DONE, DoneStatus.ERROR)
        response.finish()

    def _admit(self, login: Login, session: Session, *, encrypted: bool) -> int:
        """Tell the client that it is in; returns the packet size."""
        asked = login.packet_size or DEFAULT_PACKET_SIZE
        limit = _TLS_PACKET_SIZE if encrypted else MAXIMUM_PACKET_SIZE
        packet_size = max(MINIMUM_PACKET_SIZE, min(asked, limit))

        response = self._response(session.spid)
        response.environment(EnvironmentChange("database", session.database, "master"))
        response.message(Message(5701, text(5701, session.database), severity=0, state=2))
        response.environment(EnvironmentChange("collation", DEFAULT_COLLATION))
        response.environment(EnvironmentChange("language", "us_english"))
        response.message(Message(5703, text(5703, "us_english"), severity=0, state=1))
        version = self._server.instance.release.numbers
        response.write(tokens.login_acknowledgement(min(login.tds_version, tokens.TDS_7_4), version))
        response.environment(EnvironmentChange("packet_size", packet_size, asked))
        if login.features:
            known = {Feature.UTF8_SUPPORT: b"\x01"}
            response.write(
                tokens.feature_acknowledgement({key: known[key] for key in known if key in login.features})
            )
        response.done(Token.DONE)
        response.finish()
        return packet_size
