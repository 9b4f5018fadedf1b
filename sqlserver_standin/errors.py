"""SQL Server's messages: number, severity, state and text as it writes them.

https://learn.microsoft.com/sql/relational-databases/errors-events/database-engine-events-and-errors
"""

from __future__ import annotations

from sqlserver_standin.events import SqlError

NOT_SUPPORTED = 40000
"""Our own number: what the stand-in does not know, it refuses by name."""

_MESSAGES: dict[int, tuple[int, int, str]] = {
    # number: (severity, state, template)
    102: (15, 1, "Incorrect syntax near '{}'."),
    111: (15, 1, "'{}' must be the first statement in a query batch."),
    134: (
        15,
        2,
        "The variable name '{}' has already been declared. Variable names must be unique within a query batch or "
        "stored procedure.",
    ),
    135: (15, 1, "Cannot use a BREAK statement outside the scope of a WHILE statement."),
    136: (15, 1, "Cannot use a CONTINUE statement outside the scope of a WHILE statement."),
    137: (15, 2, 'Must declare the scalar variable "{}".'),
    141: (
        15,
        1,
        "A SELECT statement that assigns a value to a variable must not be combined with data-retrieval operations.",
    ),
    148: (15, 1, "Incorrect time syntax in time string '{}' used with {}."),
    154: (15, 1, "{} is not allowed in {}."),
    156: (15, 1, "Incorrect syntax near the keyword '{}'."),
    195: (15, 10, "'{}' is not a recognized {}."),
    201: (16, 4, "Procedure or function '{}' expects parameter '{}', which was not supplied."),
    203: (16, 2, "The name '{}' is not a valid identifier."),
    206: (16, 2, "Operand type clash: {} is incompatible with {}"),
    207: (16, 1, "Invalid column name '{}'."),
    208: (16, 1, "Invalid object name '{}'."),
    213: (16, 1, "Column name or number of supplied values does not match table definition."),
    214: (16, 2, "Procedure expects parameter '{}' of type '{}'."),
    217: (
        16,
        1,
        "Maximum stored procedure, function, trigger, or view nesting level exceeded (limit {}).",
    ),
    220: (16, 1, "Arithmetic overflow error for data type {}, value = {}."),
    226: (16, 5, "{} statement not allowed within multi-statement transaction."),
    229: (14, 5, "The {} permission was denied on the object '{}', database '{}', schema '{}'."),
    241: (16, 1, "Conversion failed when converting date and/or time from character string."),
    242: (16, 3, "The conversion of a {} data type to a {} data type resulted in an out-of-range value."),
    245: (16, 1, "Conversion failed when converting the {} value '{}' to data type {}."),
    257: (
        16,
        3,
        "Implicit conversion from data type {} to {} is not allowed. Use the CONVERT function to run this query.",
    ),
    262: (14, 4, "{} permission denied in database '{}'."),
    266: (
        16,
        2,
        "Transaction count after EXECUTE indicates a mismatching number of BEGIN and COMMIT statements. Previous "
        "count = {}, current count = {}.",
    ),
    297: (16, 1, "The user does not have permission to perform this action."),
    300: (14, 1, "{} permission was denied on object '{}', database '{}'."),
    334: (
        16,
        1,
        "The target table '{}' of the DML statement cannot have any enabled triggers if the statement contains an "
        "OUTPUT clause without INTO clause.",
    ),
    447: (16, 1, "Expression type {} is invalid for COLLATE clause."),
    512: (
        16,
        1,
        "Subquery returned more than 1 value. This is not permitted when the subquery follows =, !=, <, <= , >, >= "
        "or when the subquery is used as an expression.",
    ),
    515: (
        16,
        2,
        "Cannot insert the value NULL into column '{}', table '{}'; column does not allow nulls. {} fails.",
    ),
    544: (
        16,
        1,
        "Cannot insert explicit value for identity column in table '{}' when IDENTITY_INSERT is set to OFF.",
    ),
    547: (
        16,
        0,
        'The {} statement conflicted with the {} constraint "{}". The conflict occurred in database "{}", table '
        '"{}"{}.',
    ),
    556: (16, 2, "INSERT EXEC failed because the stored procedure altered the schema of the target table."),
    573: (
        16,
        1,
        "ROLLBACK TO SAVEPOINT within an INSERT-EXEC is not allowed.",
    ),
    574: (16, 0, "{} statement not allowed within multi-statement transaction."),
    628: (16, 0, "Cannot issue SAVE TRANSACTION when there is no active transaction."),
    911: (16, 1, "Database '{}' does not exist. Make sure that the name is entered correctly."),
    916: (
        14,
        2,
        'The server principal "{}" is not able to access the database "{}" under the current security context.',
    ),
    1033: (
        15,
        1,
        "The ORDER BY clause is invalid in views, inline functions, derived tables, subqueries, and common table "
        "expressions, unless TOP, OFFSET or FOR XML is also specified.",
    ),
    1205: (
        13,
        51,
        "Transaction (Process ID {}) was deadlocked on lock resources with another process and has been chosen as "
        "the deadlock victim. Rerun the transaction.",
    ),
    1222: (16, 51, "Lock request time out period exceeded."),
    1038: (
        15,
        5,
        "An object or column name is missing or empty. For SELECT INTO statements, verify each column has a name. For "
        'other statements, look for empty alias names. Aliases defined as "" or [] are not allowed. Change the alias '
        "to a valid name.",
    ),
    1067: (15, 1, "The SET SHOWPLAN statements must be the only statements in the batch."),
    1088: (16, 12, 'Cannot find the object "{}" because it does not exist or you do not have permissions.'),
    1505: (
        16,
        1,
        "The CREATE UNIQUE INDEX statement terminated because a duplicate key was found for the object name '{}' and "
        "the index name '{}'. The duplicate key value is ({}).",
    ),
    1750: (16, 0, "Could not create constraint or index. See previous errors."),
    1752: (16, 0, "Column '{}' in table '{}' is invalid for creating a default constraint."),
    1753: (
        16,
        0,
        "Column '{}.{}' is not the same length or scale as referencing column '{}.{}' in foreign key '{}'. Columns "
        "participating in a foreign key relationship must be defined with the same length and scale.",
    ),
    1767: (16, 0, "Foreign key '{}' references invalid table '{}'."),
    1769: (16, 1, "Foreign key '{}' references invalid column '{}' in referencing table '{}'."),
    1770: (16, 0, "Foreign key '{}' references invalid column '{}' in referenced table '{}'."),
    1773: (
        16,
        0,
        "Foreign key '{}' has implicit reference to object '{}' which does not have a primary key defined on it.",
    ),
    1776: (
        16,
        0,
        "There are no primary or candidate keys in the referenced table '{}' that match the referencing column list "
        "in the foreign key '{}'.",
    ),
    1778: (
        16,
        0,
        "Column '{}.{}' is not the same data type as referencing column '{}.{}' in foreign key '{}'.",
    ),
    1779: (16, 0, "Table '{}' already has a primary key defined on it."),
    1781: (16, 1, "Column already has a DEFAULT bound to it."),
    1785: (
        16,
        0,
        "Introducing FOREIGN KEY constraint '{}' on table '{}' may cause cycles or multiple cascade paths. Specify ON "
        "DELETE NO ACTION or ON UPDATE NO ACTION, or modify other FOREIGN KEY constraints.",
    ),
    1801: (16, 3, "Database '{}' already exists. Choose a different database name."),
    1802: (16, 4, "CREATE DATABASE failed. Some file names listed could not be created. Check related errors."),
    1807: (
        16,
        3,
        "Could not obtain exclusive lock on database '{}'. Retry the operation later.",
    ),
    1902: (
        16,
        3,
        "Cannot create more than one clustered index on table '{}'. Drop the existing clustered index '{}' before "
        "creating another.",
    ),
    1911: (16, 1, "Column name '{}' does not exist in the target table or view."),
    1913: (
        16,
        1,
        "The operation failed because an index or statistics with name '{}' already exists on {} '{}'.",
    ),
    1919: (
        16,
        1,
        "Column '{}' in table '{}' is of a type that is invalid for use as a key column in an index.",
    ),
    1978: (
        16,
        1,
        "Column '{}' in table '{}' is of a type that is invalid for use as a key column in an index or statistics.",
    ),
    2501: (16, 45, "Cannot find a table or object with the name \"{}\". Check the system catalog."),
    2528: (
        10,
        1,
        "DBCC execution completed. If DBCC printed error messages, contact your system administrator.",
    ),
    2601: (
        14,
        1,
        "Cannot insert duplicate key row in object '{}' with unique index '{}'. The duplicate key value is ({}).",
    ),
    2627: (
        14,
        1,
        "Violation of {} constraint '{}'. Cannot insert duplicate key in object '{}'. The duplicate key value is ({}).",
    ),
    2628: (
        16,
        1,
        "String or binary data would be truncated in table '{}', column '{}'. Truncated value: '{}'.",
    ),
    2705: (
        16,
        3,
        "Column names in each table must be unique. Column name '{}' in table '{}' is specified more than once.",
    ),
    2706: (11, 6, "Table '{}' does not exist."),
    2714: (16, 6, "There is already an object named '{}' in the database."),
    2715: (16, 3, "Column, parameter, or variable #{}: Cannot find data type {}."),
    2727: (11, 1, "Cannot find index '{}'."),
    2732: (
        16,
        1,
        "Error number {} is invalid. The number must be from 13000 through 2147483647 and it cannot be 50000.",
    ),
    2744: (
        16,
        2,
        "Multiple identity columns specified for table '{}'. Only one identity column per table is allowed.",
    ),
    2749: (
        16,
        2,
        "Identity column '{}' must be of data type int, bigint, smallint, tinyint, or decimal or numeric with a "
        "scale of 0, unencrypted, and constrained to be nonnullable.",
    ),
    2754: (
        16,
        1,
        "Error severity levels greater than 18 can only be specified by members of the sysadmin role, using the WITH "
        "LOG option.",
    ),
    2759: (16, 1, "CREATE SCHEMA failed due to previous errors."),
    2760: (
        16,
        1,
        'The specified schema name "{}" either does not exist or you do not have permission to use it.',
    ),
    2787: (16, 1, "Invalid format specification: '{}'."),
    2801: (16, 1, "The definition of object '{}' has changed since it was compiled."),
    2812: (16, 62, "Could not find stored procedure '{}'."),
    3609: (16, 1, "The transaction ended in the trigger. The batch has been aborted."),
    3612: (0, 0, "\n SQL Server Execution Times:\n   CPU time = {} ms,  elapsed time = {} ms."),
    3613: (0, 0, "SQL Server parse and compile time: \n   CPU time = {} ms, elapsed time = {} ms."),
    3615: (
        0,
        0,
        "Table '{}'. Scan count {}, logical reads {}, physical reads {}, page server reads 0, read-ahead reads 0, "
        "page server read-ahead reads 0, lob logical reads {}, lob physical reads {}, lob page server reads 0, "
        "lob read-ahead reads 0, lob page server read-ahead reads 0.",
    ),
    3617: (
        11,
        1,
        "The request failed to run because the batch is aborted, this can be caused by abort signal sent from "
        "client, or another request is running in the same session, which makes the session busy.",
    ),
    3621: (0, 0, "The statement has been terminated."),
    3701: (11, 5, "Cannot {} the {} '{}', because it does not exist or you do not have permission."),
    3702: (16, 3, 'Cannot drop database "{}" because it is currently in use.'),
    3705: (16, 1, "Cannot use DROP {} with '{}' because '{}' is a {}. Use {}."),
    3708: (16, 1, "Cannot drop the database '{}' because it is a system database."),
    3726: (16, 1, "Could not drop object '{}' because it is referenced by a FOREIGN KEY constraint."),
    3723: (
        16,
        4,
        "An explicit DROP INDEX is not allowed on index '{}'. It is being used for {} constraint enforcement.",
    ),
    3725: (
        16,
        0,
        "The constraint '{}' is being referenced by table '{}', foreign key constraint '{}'.",
    ),
    3727: (16, 0, "Could not drop constraint. See previous errors."),
    3728: (16, 1, "'{}' is not a constraint."),
    3729: (16, 1, "Cannot {} '{}' because it is being referenced by object '{}'."),
    3733: (16, 2, "Constraint '{}' does not belong to table '{}'."),
    3902: (16, 1, "The COMMIT TRANSACTION request has no corresponding BEGIN TRANSACTION."),
    3903: (16, 1, "The ROLLBACK TRANSACTION request has no corresponding BEGIN TRANSACTION."),
    3906: (16, 1, 'Failed to update database "{}" because the database is read-only.'),
    3930: (
        16,
        1,
        "The current transaction cannot be committed and cannot support operations that write to the log file. Roll "
        "back the transaction.",
    ),
    3931: (
        16,
        1,
        "The current transaction cannot be committed and cannot be rolled back to a savepoint. Roll back the entire "
        "transaction.",
    ),
    3951: (
        16,
        1,
        "Transaction failed in database '{}' because the statement was run under snapshot isolation but the "
        "transaction did not start in snapshot isolation. You cannot change the isolation level of the transaction "
        "to snapshot after the transaction has started unless the transaction was originally started under snapshot "
        "isolation level.",
    ),
    3952: (
        16,
        1,
        "Snapshot isolation transaction failed accessing database '{}' because snapshot isolation is not allowed in "
        "this database. Use ALTER DATABASE to allow snapshot isolation.",
    ),
    3960: (
        16,
        2,
        "Snapshot isolation transaction aborted due to update conflict. You cannot use snapshot isolation to access "
        "table '{}' directly or indirectly in database '{}' to update, delete, or insert the row that has been "
        "modified or deleted by another transaction. Retry the transaction or change the isolation level for the "
        "update/delete statement.",
    ),
    3971: (16, 1, "The server failed to resume the transaction. Desc:{}."),
    3998: (
        16,
        1,
        "Uncommittable transaction is detected at the end of the batch. The transaction is rolled back.",
    ),
    4060: (11, 1, 'Cannot open database "{}" requested by the login. The login failed.'),
    4511: (16, 1, "Create View or Function failed because no column name was specified for column {}."),
    4701: (16, 1, 'Cannot find the object "{}" because it does not exist or you do not have permissions.'),
    4712: (
        16,
        1,
        "Cannot truncate table '{}' because it is being referenced by a FOREIGN KEY constraint.",
    ),
    4902: (16, 1, 'Cannot find the object "{}" because it does not exist or you do not have permissions.'),
    4915: (16, 0, "'{}' statement failed because the parameter data type of {} is invalid."),
    4917: (16, 0, "Constraint '{}' does not exist."),
    4920: (
        16,
        0,
        "ALTER TABLE failed because trigger '{}' on table '{}' does not exist.",
    ),
    4922: (16, 9, "{} {} failed because one or more objects access this column."),
    4923: (
        16,
        1,
        "ALTER TABLE DROP COLUMN failed because '{}' is the only data column in table '{}'. A table must have at least "
        "one data column.",
    ),
    4924: (16, 1, "{} failed because column '{}' does not exist in table '{}'."),
    4927: (16, 1, "Cannot alter column '{}' to be data type {}."),
    4928: (16, 1, "Cannot alter column '{}' because it is '{}'."),
    4901: (
        16,
        1,
        "ALTER TABLE only allows columns to be added that can contain nulls, or have a DEFAULT definition specified, "
        "or the column being added is an identity or timestamp column, or alternatively if none of the previous "
        "conditions are satisfied the table must be empty to allow addition of this column. Column '{}' cannot be "
        "added to non-empty table '{}' because it does not satisfy these conditions.",
    ),
    4909: (16, 1, "Cannot alter '{}' because it is not a table."),
    4936: (16, 1, "Computed column '{}' in table '{}' cannot be persisted because the column is non-deterministic."),
    5011: (
        14,
        5,
        "User does not have permission to alter database '{}', the database does not exist, or the database is not "
        "in a state that allows access checks.",
    ),
    5069: (16, 1, "ALTER DATABASE statement failed."),
    5074: (16, 1, "The {} '{}' is dependent on {} '{}'."),
    6401: (16, 1, "Cannot roll back {}. No transaction or savepoint of that name was found."),
    6005: (10, 1, "SHUTDOWN is in progress."),
    6106: (16, 1, "Process ID {} is not an active process ID."),
    7202: (
        11,
        2,
        "Could not find server '{}' in sys.servers. Verify that the correct server name was specified. If necessary, "
        "execute the stored procedure sp_addlinkedserver to add the server to sys.servers.",
    ),
    7997: (16, 1, "'{}' does not contain an identity column."),
    7989: (0, 3, "Checking identity information: current identity value '{}'."),
    7998: (10, 1, "Checking identity information: current identity value '{}', current column value '{}'."),
    8101: (
        16,
        1,
        "An explicit value for the identity column in table '{}' can only be specified when a column list is used "
        "and IDENTITY_INSERT is ON.",
    ),
    8102: (16, 1, "Cannot update identity column '{}'."),
    8106: (16, 1, "Table '{}' does not have the identity property. Cannot perform SET operation."),
    8107: (
        16,
        1,
        "IDENTITY_INSERT is already ON for table '{}'. Cannot perform SET operation for table '{}'.",
    ),
    8110: (16, 0, "Cannot add multiple PRIMARY KEY constraints to table '{}'."),
    8111: (16, 1, "Cannot define PRIMARY KEY constraint on nullable column in table '{}'."),
    8114: (16, 5, "Error converting data type {} to {}."),
    8115: (16, 2, "Arithmetic overflow error converting {} to data type {}."),
    8134: (16, 1, "Divide by zero error encountered."),
    8144: (16, 2, "Procedure or function {} has too many arguments specified."),
    8145: (16, 2, "{} is not a parameter for procedure {}."),
    8146: (16, 1, "Procedure {} has no parameters and arguments were supplied."),
    8152: (16, 30, "String or binary data would be truncated."),
    8158: (16, 1, "'{}' has more columns than were specified in the column list."),
    8159: (16, 1, "'{}' has fewer columns than were specified in the column list."),
    8197: (16, 4, "The object '{}' does not exist or is invalid for this operation."),
    8162: (
        16,
        2,
        'The formal parameter "{}" was not declared as an OUTPUT parameter, but the actual parameter passed in '
        "requested output.",
    ),
    8169: (16, 2, "Conversion failed when converting from a character string to uniqueidentifier."),
    8178: (
        16,
        1,
        "The parameterized query '{}' expects the parameter '{}', which was not supplied.",
    ),
    8672: (
        16,
        1,
        "The MERGE statement attempted to UPDATE or DELETE the same row more than once. This happens when a target "
        "row matches more than one source row. A MERGE statement cannot UPDATE/DELETE the same row of the target "
        "table multiple times. Refine the ON clause to ensure a target row matches at most one source row, or use "
        "the GROUP BY clause to group the source rows.",
    ),
    10609: (
        16,
        1,
        "Filtered index '{}' cannot be created on table '{}' because the column '{}' in the filter expression is a "
        "computed column. Rewrite the filter expression so that it does not include this column.",
    ),
    10618: (
        16,
        1,
        "Filtered index '{}' cannot be created on table '{}' because the filter expression contains a comparison with "
        "a literal NULL value. Rewrite the comparison to use the IS [NOT] NULL comparison operator to test for NULL "
        "values.",
    ),
    10700: (
        16,
        1,
        'The table-valued parameter "{}" is READONLY and cannot be modified.',
    ),
    10704: (
        15,
        1,
        "To rethrow an error, a THROW statement must be used inside a CATCH block. Insert the THROW statement inside "
        "a CATCH block, or add error parameters to the THROW statement.",
    ),
    10735: (15, 1, "Incorrect WHERE clause for filtered index '{}' on table '{}'."),
    11701: (16, 1, "The increment for sequence object '{}' cannot be zero."),
    11730: (
        16,
        1,
        "Database name cannot be specified for the sequence object in default constraints.",
    ),
    15007: (16, 1, "'{}' is not a valid login or you do not have permission."),
    15247: (16, 1, "User does not have permission to perform this action."),
    15023: (16, 1, "User, group, or role '{}' already exists in the current database."),
    15025: (16, 1, "The server principal '{}' already exists."),
    15135: (
        16,
        8,
        "Object is invalid. Extended properties are not permitted on '{}', or the object does not exist.",
    ),
    15151: (
        16,
        1,
        "Cannot {} the {} '{}', because it does not exist or you do not have permission.",
    ),
    15217: (16, 2, "Property cannot be updated or deleted. Property '{}' does not exist for '{}'."),
    15225: (
        11,
        1,
        "No item by the name of '{}' could be found in the current database '{}', given that @itemtype was input as "
        "'{}'.",
    ),
    15233: (16, 1, "Property cannot be added. Property '{}' already exists for '{}'."),
    15248: (
        11,
        1,
        "Either the parameter @objname is ambiguous or the claimed @objtype ({}) is wrong.",
    ),
    15335: (
        11,
        1,
        "Error: The new name '{}' is already in use as a {} name and would cause a duplicate that is not permitted.",
    ),
    15477: (
        10,
        1,
        "Caution: Changing any part of an object name could break scripts and stored procedures.",
    ),
    15530: (16, 1, "The {} with name \"{}\" already exists."),
    15650: (10, 1, "Statistics for all tables have been updated."),
    15661: (16, 1, "Value for session key cannot be more than 8000 bytes."),
    15664: (
        16,
        1,
        "Cannot set key '{}' in the session context. The key has been set as read_only for this session.",
    ),
    17809: (
        20,
        1,
        "Could not connect because the maximum number of '{}' user connections has already been reached. The system "
        "administrator can use sp_configure to increase the maximum value. The connection has been closed.",
    ),
    18456: (14, 1, "Login failed for user '{}'."),
    40000: (16, 1, "not supported by the stand-in: {}"),
    5701: (10, 2, "Changed database context to '{}'."),
    5703: (10, 1, "Changed language setting to {}."),
    35100: (
        16,
        10,
        "Error number {} in the THROW statement is outside the valid range. Specify an error number in the valid range "
        "of 50000 to 2147483647.",
    ),
    40515: (16, 1, "Reference to database and/or server name in '{}' is not supported in this version of SQL Server."),
}  # fmt: skip


def sql_error(number: int, *arguments: object, line: int = 1, state: int | None = None) -> SqlError:
    """The error of that number with its template filled in."""
    severity, default_state, template = _MESSAGES[number]
    return SqlError(
        number,
        template.format(*arguments),
        severity=severity,
        state=default_state if state is None else state,
        line=line,
    )


def text(number: int, *arguments: object) -> str:
    """A message's text alone, for informational messages."""
    return _MESSAGES[number][2].format(*arguments)


def unsupported(what: str, line: int = 1) -> SqlError:
    """The refusal of what the stand-in does not do."""
    return sql_error(NOT_SUPPORTED, what, line=line)
