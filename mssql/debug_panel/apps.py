"""The panel's application: templates and static files."""

from django.apps import AppConfig


class DebugPanelConfig(AppConfig):
    name = "mssql.debug_panel"
    label = "mssql_debug_panel"
    verbose_name = "SQL Server panel"
