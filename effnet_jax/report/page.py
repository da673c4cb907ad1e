"""index.html: the whole report in one file that opens without a network."""

import base64
import html
from collections.abc import Sequence

from effnet_jax.report.collection import Collection
from effnet_jax.report.tables import Table, as_html, reduced_mark

_STYLE = """
body { font: 15px/1.45 sans-serif; max-width: 75em; margin: 2em auto; padding: 0 1em; color: #111 }
table { border-collapse: collapse; margin: 1em 0; font-size: 13px; display: block; overflow-x: auto }
td, th { border: 1px solid #bbb; padding: .25em .6em; text-align: left }
img { max-width: 100% }
.reduced { background: #fff3cd; border: 1px solid #c90; padding: .5em 1em }
"""


def page(found: Collection, tables: Sequence[Table], pictures: dict[str, bytes], remark: str) -> str:
    """Returns the page; `pictures` are PNG files, which it holds itself."""
    parts = [f"<h1>{html.escape(found.title)}</h1>"]
    if found.baseline:
        parts.append(f"<p>{html.escape(found.baseline.capitalize())}.</p>")
    if found.reductions:
        parts.append(f'<p class="reduced">{html.escape(reduced_mark(found))}</p>')
    if remark:
        parts.append(f"<p>{html.escape(remark)}</p>")
    for name, data in pictures.items():
        parts.append(f'<img alt="{name}" src="data:image/png;base64,{base64.b64encode(data).decode()}">')
    parts += map(as_html, tables)
    head = f'<meta charset="utf-8"><title>{html.escape(found.title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(parts) + "\n</body></html>\n"
