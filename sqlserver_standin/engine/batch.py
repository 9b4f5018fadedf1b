"""A batch's text to its statements. The whole batch is parsed before any of it runs, as SQL Server does."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from sqlserver_standin.engine import statements as st
from sqlserver_standin.engine.parse_definitions import DefinitionParser
from sqlserver_standin.errors import unsupported


@lru_cache(maxsize=1024)
def parse_batch(sql: str) -> tuple[st.Statement, ...]:
    """The statements of a batch; raises its first syntax error."""
    return BatchParser(sql).batch()


class BatchParser(DefinitionParser):
    """Adds to the query parser the statements that the engine runs itself."""

    def batch(self) -> tuple[st.Statement, ...]:
        """All statements up to the end of the text."""
        result: list[st.Statement] = []
        while self.token.kind != "end":
            if self.accept(";"):
                continue
            # EXEC may be left out before a procedure's name at the start of a batch.
            if not result and self.at_name() and not self._at_statement():
                result.append(self._spanned(self._call_without_exec))
            else:
                result.append(self.statement())
        return tuple(result)

    def statement(self) -> st.Statement:
        """One statement; a semicolon behind it is taken too."""
        statement = self._spanned(self._statement)
        self.accept(";")
        return statement

    def _statement(self) -> st.Statement:
        token = self.token
        if token.kind == "word":
            parse = _STATEMENTS.get(token.value)
            if parse is not None:
                return parse(self)
        if token.kind in ("word", "op") and self.at_data_statement():
            return self._data()
        if token.kind == "word" and self.ahead().value == ":" and self.at_name():
            raise unsupported("labels and GOTO", token.line)
        self.fail()

    def _refused(self) -> st.Statement:
        token = self.next()
        raise unsupported(_REFUSED_STATEMENTS[token.value], token.line)


_REFUSED_STATEMENTS = {
    "OPEN": "cursors",
    "FETCH": "cursors",
    "CLOSE": "cursors",
    "DEALLOCATE": "cursors",
    "BACKUP": "BACKUP",
    "RESTORE": "RESTORE",
    "BULK": "BULK INSERT",
    "REVERT": "REVERT",
    "GOTO": "labels and GOTO",
    "SHUTDOWN": "SHUTDOWN",
}

_STATEMENTS: dict[str, Callable[[BatchParser], st.Statement]] = {
    **dict.fromkeys(_REFUSED_STATEMENTS, BatchParser._refused),
    "ALTER": BatchParser._alter,
    "BEGIN": BatchParser._begin,
    "BREAK": BatchParser._break,
    "CHECKPOINT": BatchParser._checkpoint,
    "RECONFIGURE": BatchParser._checkpoint,
    "COMMIT": BatchParser._commit,
    "CONTINUE": BatchParser._break,
    "CREATE": BatchParser._create,
    "DBCC": BatchParser._dbcc,
    "DECLARE": BatchParser._declare,
    "DENY": BatchParser._permission,
    "DISABLE": BatchParser._switch_trigger,
    "DROP": BatchParser._drop,
    "ENABLE": BatchParser._switch_trigger,
    "EXEC": BatchParser._execute,
    "EXECUTE": BatchParser._execute,
    "GRANT": BatchParser._permission,
    "IF": BatchParser._if,
    "KILL": BatchParser._kill,
    "PRINT": BatchParser._print,
    "RAISERROR": BatchParser._raiserror,
    "RETURN": BatchParser._return,
    "REVOKE": BatchParser._permission,
    "ROLLBACK": BatchParser._rollback,
    "SAVE": BatchParser._save,
    "SET": BatchParser._set,
    "THROW": BatchParser._throw,
    "TRUNCATE": BatchParser._truncate,
    "UPDATE": BatchParser._update_statement,
    "USE": BatchParser._use,
    "WAITFOR": BatchParser._waitfor,
    "WHILE": BatchParser._while,
}
