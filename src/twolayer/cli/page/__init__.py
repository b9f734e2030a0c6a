"""``twolayer report``: a run or a sweep as one page of HTML, which needs no other file and no network.

`content` holds its texts, `tables` its tables, `pictures` its pictures, `settings` the settings and the
command that repeats the run; `writing` puts them into the template ``page.html.jinja``.
"""

from __future__ import annotations

from .writing import write_page

__all__ = ["write_page"]
