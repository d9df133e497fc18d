"""Where shared file systems are on this machine. No rules."""

from __future__ import annotations

from pathlib import Path

from opencph.settings import Settings


def share_directory(settings: Settings, project_id: str, share_id: str, path: str) -> Path:
    """The directory of a file system of a project, or one in it."""
    return settings.data.resolve() / "share-filesystems" / project_id / share_id / path.lstrip("/")
