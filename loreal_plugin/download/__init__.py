"""Public datasets: where they can be had, getting them into the family's layout, counting them.

- `sources.json`, `table`: one row a dataset: page, licence, parts, sources with hashes, counts.
- `transfer`: one file over HTTP, resumed where it was cut, compared with its published hash.
- `arrange`: parts of a dataset found in what was unpacked, and moved to their places.
- `origins`: where a part is taken from: the table's sources, or a file, folder or mirror.
- `get`: a dataset, part by part.
- `inspect`: what of a dataset is there, read by the embedded host's own loaders.
"""
