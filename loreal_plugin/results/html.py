"""A report as one HTML file that needs no other file: style and pictures are inside, there is no
script.
"""

from __future__ import annotations

import base64
import re
from typing import Any

from loreal_plugin.errors import LorealError
from loreal_plugin.results.report import Report

# a number with more characters than this stands with words, which may be broken into lines
LONG = 18
TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ report.title }}</title>
<style>
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
nav a { margin-right: 1rem; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .2rem .7rem; border-bottom: 1px solid var(--line); text-align: left; }
td.number { white-space: nowrap; } td.long { white-space: normal; min-width: 7.5rem; }
th.number, td.number { text-align: right; }
tbody tr:hover { background: var(--soft); }
td.best { font-weight: 700; }
.note { font-size: .85rem; opacity: .8; max-width: 60rem; }
figure { margin: 1rem 0; } figure img { max-width: 100%; background: #fff; border-radius: 4px; }
figcaption { font-size: .85rem; }
li { overflow-wrap: anywhere; }
</style>
</head>
<body>
<h1>{{ report.title }}</h1>
<nav>{% for section in report.sections
%}<a href="#s{{ loop.index }}">{{ section.title }}</a> {% endfor %}</nav>
{% for section in report.sections %}
<section id="s{{ loop.index }}">
<h2>{{ section.title }}</h2>
{% for line in section.text if not line.startswith('- ') %}<p>{{ line|code }}</p>
{% endfor %}
{% for line in section.text if line.startswith('- ')
%}{{ '<ul>'|safe if loop.first }}<li>{{ line[2:]|code }}</li>
{{ '</ul>'|safe if loop.last }}{% endfor %}
{% for table in section.tables %}
<div class="scroll"><table>
<caption>{{ table.caption }}</caption>
<thead><tr>
{% for name in table.head %}<th{{ number(table, loop.index0) }}>{{ name }}</th>{% endfor %}
</tr></thead>
<tbody>
{% for row in table.body %}<tr>
{% for cell in row %}<td{{ number(table, loop.index0, cell) }}>{{ cell.text }}</td>{% endfor %}
</tr>
{% endfor %}
</tbody></table></div>
{% for note in table.notes %}<p class="note">{{ note }}</p>
{% endfor %}
{% endfor %}
{% for picture in section.pictures %}
<figure><img alt="{{ picture.caption }}" src="{{ data_uri(picture) }}">
<figcaption>{{ picture.caption }}</figcaption></figure>
{% endfor %}
</section>
{% endfor %}
</body>
</html>
"""


def to_html(report: Report) -> str:
    """Return the page.

    Raises:
        LorealError: jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, StrictUndefined
        from markupsafe import Markup, escape
    except ImportError as error:
        raise LorealError("the HTML page needs jinja2; install loreal-plugin[report]") from error

    def number(table: Any, index: int, cell: Any = None) -> Markup:
        kinds = ["number"] if index >= table.words else []
        kinds += ["best"] if cell and cell.best else []
        kinds += ["long"] if cell and len(cell.text) > LONG else []
        return Markup(f' class="{" ".join(kinds)}"') if kinds else Markup("")

    def code(text: str) -> Markup:
        return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["code"] = code
    environment.globals |= {"number": number, "data_uri": data_uri}
    return environment.from_string(TEMPLATE).render(report=report)


def data_uri(picture: Any) -> str:
    """Return a picture as the address that carries its bytes."""
    return f"data:image/png;base64,{base64.b64encode(picture.png).decode('ascii')}"
