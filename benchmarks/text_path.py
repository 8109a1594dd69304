"""Cost of the prefix text path against the reference path, as ratios measured in one run.

    python benchmarks/text_path.py    # CLIP's text size: 12 layers, 512 wide, 77 tokens
    python benchmarks/text_path.py --width 128 --layers 4 --classes 24 --images 8

Weights are random: time and memory do not depend on them. Ratios are reference / prefix, so larger
is better for prefix. Peak memory is what PyTorch's allocator held at most during a call, beyond
what was held before it (weights; for prefix the stored keys and values too). Prompts are
``ctx(4) CLS(1-3) with 5 slots .``.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

# The profiler, used for CPU memory, would report every start and stop.
# torch reads this when it is imported.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from loreal_plugin.method.slots import SLOT_ORDERS, SplicedPrompts, splice_slots
from loreal_plugin.text import PrefixTextPath, ReferenceTextPath, TextBlocks

LENGTH, HEAD_WIDTH, N_ATTRIBUTES = 77, 64, 5
MIB = 1024**2


class QuickGELU(nn.Module):
    """CLIP's activation."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x * sigmoid(1.702 x)."""
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    """One residual block as in CLIP's text transformer, on rows (L, N, D)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, max(1, width // HEAD_WIDTH))
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        parts = [("c_fc", nn.Linear(width, 4 * width)), ("gelu", QuickGELU())]
        self.mlp = nn.Sequential(OrderedDict([*parts, ("c_proj", nn.Linear(4 * width, width))]))
        self.register_buffer("attn_mask", torch.full((LENGTH, LENGTH), float("-inf")).triu(1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the rows (L, N, D) after attention and MLP."""
        h = self.ln_1(x)
        x = x + self.attn(h, h, h, need_weights=False, attn_mask=self.attn_mask)[0]
        return x + self.mlp(self.ln_2(x))


class Text(nn.Module):
    """A frozen random text encoder of CLIP's layout."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.resblocks = nn.Sequential(*(Block(width) for _ in range(layers)))
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(LENGTH, width))
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.randn(width, width) / width**0.5)
        self.table = nn.Parameter(0.02 * torch.randn(100, width))
        self.requires_grad_(False)

    def encode(self, embeddings: Tensor, tokens: Tensor) -> Tensor:
        """Return text features (N, D_v) of full prompts, as the hosts' text encoders do."""
        x = (embeddings + self.positional_embedding).transpose(0, 1)
        x = self.resblocks(x).transpose(0, 1)
        read = x[torch.arange(len(x), device=x.device), tokens.argmax(-1)]
        return self.ln_final(read) @ self.text_projection


def make_prompts(text: Text, n_classes: int, order: str, n_content: int) -> SplicedPrompts:
    """Return spliced prompts with class names of one to three tokens and one word per attribute."""
    device = text.table.device
    tokens = torch.zeros(n_classes, LENGTH, dtype=torch.long, device=device)
    for c in range(n_classes):
        ids = [98, 1, 2, 3, 4, *range(20, 21 + c % 3), 5, 99]
        tokens[c, : len(ids)] = torch.tensor(ids)
        # Makes the classes differ, as real names do.
        tokens[c, 5] = 30 + c % 60
    return splice_slots(
        text.table[tokens],
        tokens,
        attribute_tokens=[[[10 + k] for k in range(N_ATTRIBUTES)]] * n_classes,
        embed=lambda ids: text.table[ids],
        n_content=n_content,
        order=order,
        class_start=torch.full((n_classes,), 5),
        with_token=6,
        period_token=5,
        classnames=[f"class{c}" for c in range(n_classes)],
    )


def measure(run: Callable[[], object], device: torch.device, repeats: int) -> tuple[float, float]:
    """Return the best seconds of some repeats, and the peak MiB of a call that warms up."""
    peak = peak_memory(run, device) / MIB
    seconds = []
    for _ in range(repeats):
        _wait(device)
        start = time.perf_counter()
        run()
        _wait(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds), peak


def peak_memory(run: Callable[[], object], device: torch.device) -> int:
    """Return the most bytes that a call held at once on the device, beyond those before it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as seen:
        run()
    held = peak = 0
    events = (e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]")
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def compare(args: argparse.Namespace, order: str) -> list[str]:
    """Return the table's rows of one slot order: forward, and forward with backward."""
    device = torch.device(args.device)
    torch.manual_seed(0)
    text = Text(args.width, args.layers).to(device)
    prompts = make_prompts(text, args.classes, order, args.content_tokens)
    layers, end = list(text.resblocks), (text.ln_final, text.text_projection)
    blocks = TextBlocks(text.positional_embedding, layers, *end)
    paths = {
        "reference": ReferenceTextPath(prompts, text.encode, chunk=args.chunk),
        "prefix": PrefixTextPath(prompts, blocks, chunk=args.chunk),
    }
    contents = torch.randn(args.images, N_ATTRIBUTES, args.width, device=device)
    apart = (paths["reference"](contents) - paths["prefix"](contents)).abs().max().item()
    rows = []
    for mode in ("forward", "forward+backward"):
        trains = mode != "forward"

        def run(path: Callable[[Tensor], Tensor], trains: bool = trains) -> None:
            with torch.set_grad_enabled(trains):
                features = path(contents.clone().requires_grad_(trains))
                if trains:
                    features.sum().backward()

        (slow, slow_peak), (fast, fast_peak) = (
            measure(lambda path=path: run(path), device, args.repeats) for path in paths.values()
        )
        cells = [order, mode, f"{slow * 1e3:.1f}", f"{fast * 1e3:.1f}", f"{slow / fast:.2f}"]
        cells += [
            f"{slow_peak:.1f}",
            f"{fast_peak:.1f}",
            f"{slow_peak / fast_peak:.2f}",
            f"{apart:.1e}",
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--classes", type=int, default=50, help="C")
    parser.add_argument("--images", type=int, default=4, help="B")
    parser.add_argument("--width", type=int, default=512, help="D_t, a multiple of 64")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--content-tokens", type=int, default=2, help="M")
    parser.add_argument("--chunk", type=int, default=0, help="classes per pass, 0 = automatic")
    parser.add_argument("--orders", nargs="+", choices=SLOT_ORDERS, default=list(SLOT_ORDERS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(
        f"C={args.classes} B={args.images} width={args.width} layers={args.layers}"
        f" M={args.content_tokens} chunk={args.chunk or 'auto'} threads={args.threads}"
        f" device={args.device} torch={torch.__version__}"
    )
    print(
        "| order | pass | reference ms | prefix ms | ratio | reference MiB | prefix MiB | ratio |"
        " apart |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for order in args.orders:
        for row in compare(args, order):
            print(row, flush=True)


if __name__ == "__main__":
    main()
