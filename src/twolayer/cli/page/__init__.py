"""``twolayer report``: an HTML page about a run or a sweep, in a single file.

`content` holds its texts, `tables` its tables, `pictures` its pictures, `settings` the settings and the
command that repeats the run. `writing` puts them into the template ``page.html.jinja``.
"""

from __future__ import annotations

from .writing import write_page

__all__ = ["write_page"]
