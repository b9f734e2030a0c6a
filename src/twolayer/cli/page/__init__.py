"""``twolayer report``: a run or a sweep as one page of HTML, which needs no other file and no network.

`found` is what the folder of a run holds, `content` what the page says of it, `samples` what it says of the
test samples, `pictures` what it draws, and `writing` puts them into the template ``page.html.jinja``.
"""

from __future__ import annotations

from .writing import write_page

__all__ = ["write_page"]
