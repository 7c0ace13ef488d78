from __future__ import annotations

from tests.audit.conftest import bench

__all__ = ["bench"]
