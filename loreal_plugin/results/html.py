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
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem;
  overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
.verdict { font-size: 1.1rem; max-width: 54rem; } .verdict li { margin: .3rem 0; }
nav a { margin-right: 1rem; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem;
  overflow-wrap: normal; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .2rem .7rem; border-bottom: 1px solid var(--line); text-align: left; }
td.number { white-space: nowrap; } td.long { white-space: normal; min-width: 7.5rem; }
th.number, td.number { text-align: right; }
tbody tr:hover { background: var(--soft); }
td.best { font-weight: 700; }
.note { font-size: .85rem; opacity: .8; max-width: 60rem; }
.pictures { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); }
figure { margin: 0; } figure img { width: 100%; max-width: 34rem; background: #fff;
  border-radius: 4px; }
figcaption { font-size: .85rem; }
details { margin: 1rem 0; } summary { cursor: pointer; font-weight: 600; }
@media (max-width: 640px) {
  /* a line of a table becomes a block: its words, then each number with the head of its column */
  thead { display: none; } table, caption, tbody, tr { display: block; }
  tr { display: flex; flex-wrap: wrap; gap: 0 .9rem; padding: .4rem 0;
    border-bottom: 1px solid var(--line); }
  td { border: 0; padding: 0; } td.word { font-weight: 600; }
  td.number::before { content: attr(data-head) " "; opacity: .65; font-weight: 400; }
  td.number, td.long { text-align: left; white-space: normal; min-width: 0; }
}
</style>
</head>
<body>
{% macro paragraphs(lines) %}
{% for line in lines if not line.startswith('- ') %}<p>{{ line|code }}</p>
{% endfor %}
{% for line in lines if line.startswith('- ')
%}{{ '<ul>'|safe if loop.first }}<li>{{ line[2:]|code }}</li>
{{ '</ul>'|safe if loop.last }}{% endfor %}
{% endmacro %}
{% macro tables(found) %}
{% for table in found %}
<div class="scroll"><table>
<caption>{{ table.caption }}</caption>
<thead><tr>
{% for name in table.head %}<th{{ kind(table, loop.index0) }}>{{ name }}</th>{% endfor %}
</tr></thead>
<tbody>
{% for row in table.body %}<tr>
{% for cell in row %}<td{{ kind(table, loop.index0, cell) }}>{{ cell.text }}</td>{% endfor %}
</tr>
{% endfor %}
</tbody></table></div>
{% for note in table.notes %}<p class="note">{{ note }}</p>
{% endfor %}
{% endfor %}
{% endmacro %}
<h1>{{ report.title }}</h1>
{% for section in report.sections %}
<section id="s{{ loop.index }}"{% if loop.first %} class="verdict"{% endif %}>
{% if not loop.first %}<h2>{{ section.title }}</h2>{% endif %}
{{ paragraphs(section.text) }}
{% if section.pictures %}<div class="pictures">
{% for picture in section.pictures %}
<figure><img alt="{{ picture.caption }}" src="{{ data_uri(picture) }}">
<figcaption>{{ picture.caption }}</figcaption></figure>
{% endfor %}
</div>{% endif %}
{{ tables(section.tables) }}
{% for fold in section.folds %}
<details><summary>{{ fold.title }}</summary>
{{ paragraphs(fold.text) }}
{{ tables(fold.tables) }}
</details>
{% endfor %}
</section>
{% if loop.first %}
<nav>{% for section in report.sections[1:]
%}<a href="#s{{ loop.index + 1 }}">{{ section.title }}</a> {% endfor %}</nav>
{% endif %}
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

    def kind(table: Any, index: int, cell: Any = None) -> Markup:
        kinds = ["number"] if index >= table.words else ["word"]
        kinds += ["best"] if cell and cell.best else []
        kinds += ["long"] if cell and len(cell.text) > LONG else []
        # on a narrow page the head of the column stands before the number
        head = f' data-head="{escape(table.head[index])}"' if cell and index >= table.words else ""
        return Markup(f' class="{" ".join(kinds)}"{head}')

    def code(text: str) -> Markup:
        return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["code"] = code
    environment.globals |= {"kind": kind, "data_uri": data_uri}
    return environment.from_string(TEMPLATE).render(report=report)


def data_uri(picture: Any) -> str:
    """Return a picture as the address that carries its bytes."""
    return f"data:image/png;base64,{base64.b64encode(picture.png).decode('ascii')}"
