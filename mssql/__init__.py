"""Django database backend for Microsoft SQL Server that can be observed."""
