"""The table of sources as markdown, for docs/DATA.md."""

from __future__ import annotations

from loreal_plugin.download.table import Dataset, Source, datasets, publishers


def sources_table() -> str:
    """Return a section for each dataset, and who published the hashes."""
    names = {key: f"({number})" for number, key in enumerate(publishers(), start=1)}
    legend = [f"{names[key]} {text}" for key, text in publishers().items()]
    sections = [_section(row, names) for row in datasets().values()]
    return "\n\n".join(["Hashes were published by: " + "; ".join(legend) + ".", *sections])


def _section(row: Dataset, names: dict[str, str]) -> str:
    head = f"`{row.name}`; <{row.page}>; licence: {row.licence}."
    lines = [f"### {row.title}", "", head + (f" Note: {row.note}." if row.note else ""), ""]
    lines += ["| gives | source, in the order in which they are tried |", "|---|---|"]
    for part in row.parts:
        gives = ", ".join(f"`{path}`" for path in part.gives)
        here = [f"`DATA/{part.beside}`"] if part.beside else []
        found = [*here, *(_source(source, names) for source in part.sources)]
        lines.append(f"| {gives} | {'<br>'.join(found) or 'no server; by hand, see above'} |")
    return "\n".join(lines)


def _source(source: Source, names: dict[str, str]) -> str:
    size = f", {source.size:,} bytes" if source.size else ""
    known = f"{source.hash_kind} `{source.hash}` {names.get(source.known_from, '')}"
    return f"[{source.name}]({source.url}){size}, {known.strip() if source.hash else 'no hash'}"
