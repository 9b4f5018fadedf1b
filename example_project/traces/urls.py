"""URLs of the Traces page."""

from __future__ import annotations

from django.urls import path

from example_project.traces import views

urlpatterns = [
    path("", views.traces, name="traces"),
    path("<str:trace_id>/", views.trace, name="trace"),
]
