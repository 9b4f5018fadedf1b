"""MS-TDS, the protocol SQL Server speaks: bytes on one side, events and parameters on the other, no I/O of its own.

Specification: https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/
"""
