"""URLs of the example site."""

from __future__ import annotations

from debug_toolbar.toolbar import debug_toolbar_urls
from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("example_project.shop.urls")),
    path("traces/", include("example_project.traces.urls")),
    path("admin/", admin.site.urls),
    *debug_toolbar_urls(),
]
