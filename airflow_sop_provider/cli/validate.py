"""`sop validate`: every error of every SOP, for a person or for a program.

Folders hold thousands of files, so results are shown as they come: errors at once, a progress
bar on a terminal, one summary line at the end. With `--json` the same goes out as one document.
"""

from __future__ import annotations
