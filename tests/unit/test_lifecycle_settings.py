"""Where the containers' state is kept when nobody says."""

from __future__ import annotations

import os

import pytest

from pyoci.lifecycle import settings


@pytest.mark.parametrize(
    ("uid", "first", "environment", "root"),
    [
        (0, True, {}, "/run/pyoci"),
        (0, True, {"XDG_RUNTIME_DIR": "/run/user/0"}, "/run/pyoci"),
        (0, False, {}, "/run/pyoci"),
        (0, False, {"XDG_RUNTIME_DIR": "/run/user/1000"}, "/run/user/1000/pyoci"),
        (0, False, {"XDG_RUNTIME_DIR": "/run/user/1000", "USER": "root"}, "/run/pyoci"),
        (0, False, {"XDG_RUNTIME_DIR": "/run/user/1000", "USER": "me"}, "/run/user/1000/pyoci"),
        (1000, True, {"XDG_RUNTIME_DIR": "/run/user/1000"}, "/run/user/1000/pyoci"),
        (1000, True, {"XDG_RUNTIME_DIR": ""}, "/run/pyoci"),
        (1000, True, {}, "/run/pyoci"),
    ],
)
def test_the_default_root_is_chosen_as_runc_does(monkeypatch, uid, first, environment, root):
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(settings, "in_initial_user_namespace", lambda: first)
    monkeypatch.setattr(os, "environ", environment)
    assert settings.default_root() == root
