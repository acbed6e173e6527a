"""`sop set-mode`: change the execution mode in an SOP's file, and nothing else in it."""

from __future__ import annotations
