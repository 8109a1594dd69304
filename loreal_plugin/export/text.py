"""The text encoder for a device, and how a class name becomes a row of token ids there.

The token table has further rows: the learned context, and the contents of the slots at the mean
training picture. So `static` text features come from ids alone.

Shapes: N prompts, C classes, L context length, K attributes, V vocabulary, D_t text width.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from loreal_plugin.contract.text import name_ids
from loreal_plugin.edge.bpe import N_BYTES, BytePairs
from loreal_plugin.edge.layout import MERGES, TEXT
from loreal_plugin.edge.text import prompt_ids
from loreal_plugin.errors import ConfigError, HostError
from loreal_plugin.export.encoder import to_onnx
from loreal_plugin.export.heads import fusion_weights
from loreal_plugin.export.precision import CALIBRATED, convert
from loreal_plugin.files import write_bytes
from loreal_plugin.inference.deployed import Deployed
from loreal_plugin.method.slots import SplicedPrompts
from loreal_plugin.weights import import_clip

_NO_TEMPLATE = "--text needs prompts that are alike around the class name"


@dataclass(frozen=True)
class Template:
    """A prompt as ids around the class name.

    Attributes:
        before, after: ids, the end of text included.
        extra: rows (E, D_t) of ids V, V + 1, ...
        length: L.
    """

    before: list[int]
    after: list[int]
    extra: Tensor
    length: int


class IdEncoder(nn.Module):
    """Ids (N, L) -> L2-normalised text features (N, D_v) float32."""

    table: Tensor

    def __init__(self, deployed: Deployed, extra: Tensor) -> None:
        super().__init__()
        self.student = deployed.beta
        weight = self.student.token_weight
        self.vocabulary = len(weight)
        every = torch.arange(self.vocabulary, device=weight.device)
        rows = self.student.token_embedding(every)
        self.register_buffer("table", torch.cat([rows, extra.to(rows)]))

    def forward(self, ids: Tensor) -> Tensor:
        """Return the features."""
        # the end of text is found as the highest id: further rows must not be higher
        tokens = torch.where(ids < self.vocabulary, ids, torch.zeros_like(ids))
        features = self.student.encode_text(F.embedding(ids, self.table), tokens)
        return F.normalize(features.float(), dim=-1)


@torch.no_grad()
def template_of(deployed: Deployed) -> Template:
    """Return what the prompts of a model have in common, checked on each of its classes.

    Raises:
        ConfigError: the prompts are no template around the name: contexts or words of classes.
    """
    beta, prompts = deployed.beta, deployed.beta.text_path.prompts
    contents = _mean_contents(deployed)
    found = [_row_of(deployed, prompts, c) for c in range(prompts.n_classes)]
    vocabulary, first = len(beta.token_weight), found[0]
    # learned rows get numbers in the order in which they stand; contents come behind them
    learned = list(first[1])
    names = [name_ids(name, beta.tokenize) for name in beta.classnames]
    starts = beta.prompts().class_start.tolist()
    whole = []
    for (row, own), start, ids in zip(found, starts, names, strict=True):
        if len(own) != len(learned) or not all(map(torch.equal, own, learned)):
            raise ConfigError(f"{_NO_TEMPLATE}: the learned context differs from class to class")
        numbered = [
            token if kind == "token" else vocabulary + token + (kind == "content") * len(learned)
            for kind, token in row
        ]
        at = next((i for i in range(start, len(row)) if numbered[i : i + len(ids)] == ids), None)
        if at is None:
            raise ConfigError(f"{_NO_TEMPLATE}: a name is not in its prompt")
        whole.append((numbered[:at], numbered[at + len(ids) :]))
    if any(one != whole[0] for one in whole):
        raise ConfigError(f"{_NO_TEMPLATE}: words around the name differ from class to class")
    extra = torch.stack([*learned, *contents])
    return Template(whole[0][0], whole[0][1], extra, prompts.context_length)


def _mean_contents(deployed: Deployed) -> Tensor:
    """Return the contents (K, D_t) of the mean training picture, as rows of the prompts."""
    nets, mode = deployed.model.meta_nets, deployed.mode
    if mode is None or mode.mean is None:
        raise ConfigError("--text needs the mode static or tangent")
    hidden = mode.mean.unflatten(0, (len(nets.meta_nets), -1))
    contents = nets.from_hidden(hidden[None])[0]
    return deployed.beta.embed_contents(contents.to(deployed.beta.dtype))


def _row_of(
    deployed: Deployed, prompts: SplicedPrompts, c: int
) -> tuple[list[tuple[str, int]], list[Tensor]]:
    """Return a class's rows up to the end of text, and its learned rows.

    A row is a token with its id, a learned row with its number, or a content with its number.
    """
    beta = deployed.beta
    ids = prompts.tokens[c]
    plain = beta.token_embedding(ids).to(prompts.host_embeddings.dtype)
    rows: list[tuple[str, int]] = []
    learned: list[Tensor] = []
    for position in range(int(prompts.eot[c]) + 1):
        source = int(prompts.source[c, position])
        if source >= prompts.first_content_source:
            rows.append(("content", source - prompts.first_content_source))
            continue
        host = source < prompts.context_length
        if host and not torch.allclose(
            prompts.host_embeddings[c, source], plain[position], atol=1e-6
        ):
            rows.append(("learned", len(learned)))
            learned.append(prompts.host_embeddings[c, source])
        else:
            rows.append(("token", int(ids[position])))
    return rows, learned


def export_text(deployed: Deployed, template: Template) -> Any:
    """Return the text encoder of a model as an ONNX model in float32, ids -> features.

    Raises:
        HostError: torch cannot export the host's encoder.
        ConfigError: onnx or onnxscript is not installed.
    """
    module = IdEncoder(deployed, template.extra).eval()
    ids = torch.zeros(2, template.length, dtype=torch.int64)
    ids[:, 5] = module.vocabulary - 1  # an end of text, which every prompt has; the place is free
    return to_onnx(module, ids, "ids", "text encoder", deployed.beta)


def text_facts(deployed: Deployed, template: Template) -> dict[str, Any]:
    """Return what `loreal.json` says of the text encoder."""
    return {
        "file": TEXT,
        "merges": MERGES,
        "before": template.before,
        "after": template.after,
        "length": template.length,
        # new classes: how much each feature counts
        "fusion": fusion_weights(deployed, 1, fusion=False)[0].tolist(),
    }


def write_text_encoder(folder: Path, models: Sequence[Deployed], precision: str) -> dict[str, Any]:
    """Write the text encoder of a package and its table of merges; return what is said of them.

    Args:
        models: of the class sets; all have the same prompts but for the names.
        precision: of the encoder; `int8-static` is `int8` here, there are no texts to calibrate on.

    Raises:
        ConfigError: the prompts are no template around the name.
        HostError: the encoder cannot be exported, or a device would make other ids than the host.
        WeightsError: there is no `clip` package.
    """
    first, template = models[0], template_of(models[0])
    write_merges(folder / MERGES, len(first.beta.token_weight))
    encode = BytePairs.read(folder / MERGES)
    for deployed in models:
        check_names(deployed, template, encode)
    model = export_text(first, template)
    model = convert(model, "int8" if precision in CALIBRATED else precision, None)
    write_bytes(folder / TEXT, model.SerializeToString())
    return text_facts(first, template)


def write_merges(path: Path, vocabulary: int) -> None:
    """Write the merges of the tokenizer that hosts use.

    Args:
        vocabulary: V.

    Raises:
        WeightsError: there is no `clip` package.
    """
    import_clip()
    from clip import simple_tokenizer

    # a title, then the merges; the vocabulary has each byte twice, and start and end
    count = vocabulary - 2 * N_BYTES - 2
    lines = gzip.decompress(Path(simple_tokenizer.default_bpe()).read_bytes()).decode("utf-8")
    kept = "\n".join(lines.split("\n")[1 : 1 + count])
    write_bytes(path, gzip.compress(kept.encode("utf-8"), mtime=0))


def check_names(deployed: Deployed, template: Template, encode: BytePairs) -> None:
    """Check that a device makes the ids that the host's tokenizer makes of a model's classes.

    Raises:
        HostError: it does not.
    """
    facts = text_facts(deployed, template)
    for name in deployed.beta.classnames:
        ids = name_ids(name, deployed.beta.tokenize)
        if not name[-1:].isalnum():
            continue  # refused on the device
        wanted = [*template.before, *ids, *template.after]
        if prompt_ids(name, encode, facts)[: len(wanted)] != wanted:
            raise HostError(f"class '{name}' is tokenised differently by this host")
